// What is live, and the keys. Without this script every page works by links and
// forms alone.
"use strict";

document.documentElement.classList.add("scripted");

const $ = (id) => document.getElementById(id);
const queue = $("queue");
const cards = () => [...document.querySelectorAll("#queue > .card:not(.gone)")];
const say = (text) => { const place = $("announce"); if (place) place.textContent = text; };

// --- Times ---

function span(milliseconds) {
  const all = Math.max(0, Math.floor(milliseconds / 1000));
  const [hours, minutes, seconds] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${seconds} s` : `${seconds} s`;
}

// The server's clock counts, not this machine's.
const offset = Date.parse(document.documentElement.dataset.now) - Date.now();
const now = () => Date.now() + offset;

function tick() {
  for (const time of document.querySelectorAll("time[data-until], time[data-ago]")) {
    const left = Date.parse(time.dateTime) - now();
    const text = "until" in time.dataset ? `${span(left)} left` : `${span(-left)} ago`;
    if (time.textContent !== text) time.textContent = text;
    if (!time.title) time.title = time.dateTime;
    if ("until" in time.dataset) time.parentElement.classList.toggle("soon", left < 60_000);
  }
}

// --- Parts of pages ---

class Over extends Error {}

async function ask(address, options = {}) {
  const answer = await fetch(address, { redirect: "manual", credentials: "same-origin", ...options });
  // Whoever is not logged in any more is led to the login.
  if (answer.type === "opaqueredirect") throw new Over("over");
  const template = document.createElement("template");
  template.innerHTML = await answer.text();
  return { ok: answer.ok, status: answer.status, content: template.content };
}

function disconnected(text, link) {
  const place = $("connection");
  if (!place) return;
  place.textContent = text + " ";
  if (link) {
    const a = document.createElement("a");
    a.href = link.href;
    a.textContent = link.text;
    place.append(a);
  }
  place.hidden = !text;
}

function sessionOver() {
  source?.close();
  source = null;
  disconnected("Your session is over: nothing here is up to date any more.", {
    href: "/login?next=" + encodeURIComponent(location.pathname + location.search),
    text: "Log in again",
  });
  for (const button of document.querySelectorAll(".decide button")) button.disabled = true;
}

function failed(error) {
  if (error instanceof Over) sessionOver();
  else disconnected("The center cannot be reached. This is tried again by itself.");
}

// --- The queue ---

let source = null;
let wanted = [];
const loading = new Set();

function connect() {
  if (!queue || source) return;
  source = new EventSource(`${queue.dataset.events}?order=${queue.dataset.order}`);
  source.addEventListener("open", () => disconnected(""));
  source.addEventListener("queue", (event) => update(JSON.parse(event.data)));
  source.addEventListener("over", sessionOver);
  source.addEventListener("replaced", () => {
    source.close();
    source = null;
    disconnected("Another window of yours is kept up to date; this one is when you come back to it.");
  });
  source.addEventListener("error", async () => {
    if (source?.readyState !== EventSource.CLOSED) {
      disconnected("The connection is lost. It is tried again by itself.");
      return;
    }
    source = null;
    // Refused: by the login, or by a center that is just starting.
    try { await ask("/account"); } catch (error) { failed(error); if (error instanceof Over) return; }
    setTimeout(connect, 3000);
  });
}

function update(state) {
  wanted = state.ids;
  const waits = new Set(wanted.map(String));
  for (const card of cards()) {
    if (!waits.has(card.dataset.id)) leave(card, state.gone[card.dataset.id] ?? "does not wait any more");
  }
  $("count").textContent = state.count;
  document.title = `${wanted.length ? `(${wanted.length}) ` : ""}Queue · ASCEND center`;
  for (const card of cards()) {
    const mark = state.marks[card.dataset.id] ?? "";
    if (waits.has(card.dataset.id) && card.dataset.mark !== mark) refresh(card, mark);
  }
  const isEmpty = !wanted.length;
  $("empty").hidden = !isEmpty;
  if (state.killed !== Boolean(document.querySelector(".alarm"))) alarm();
  arrive();
}

// A card that is looked at stays as it is, and says what became of it.
function leave(card, what) {
  const id = card.dataset.id;
  say(`Action ${id} ${what}.`);
  if (!card.contains(document.activeElement)) {
    card.remove();
    return;
  }
  const written = card.querySelector("textarea")?.value;
  const told = document.createElement("p");
  const link = document.createElement("a");
  link.href = `/actions/${id}`;
  link.textContent = `#${id}`;
  told.append(link, ` ${what}.`);
  const parts = [told];
  if (written) {
    const kept = document.createElement("p");
    kept.textContent = `Your comment was not sent: ${written}`;
    parts.push(kept);
  }
  card.replaceChildren(...parts);
  card.removeAttribute("aria-labelledby");
  card.className = "card gone";
  card.focus();
  card.addEventListener("blur", () => card.remove(), { once: true });
}

// The kill switch was raised or released.
async function alarm() {
  try {
    const { content } = await ask("/switch");
    const raised = content.querySelector(".alarm");
    document.querySelector(".alarm")?.remove();
    if (raised) document.querySelector(".top").after(raised);
    say(raised?.textContent ?? "The kill switch is released.");
  } catch (error) {
    failed(error);
  }
}

// Somebody voted. What is being written stays.
async function refresh(card, mark) {
  card.dataset.mark = mark;
  try {
    const { ok, content } = await ask(`/queue/cards/${card.dataset.id}`);
    const facts = content.querySelector(".card:not(.gone) .about");
    if (!ok || !facts) return;
    card.querySelector(".about").replaceWith(facts);
    say(`Action ${card.dataset.id} has other approvals.`);
    tick();
  } catch (error) {
    failed(error);
  }
}

async function arrive() {
  const known = new Set(cards().map((card) => card.dataset.id));
  for (const id of wanted.map(String)) {
    if (known.has(id) || loading.has(id)) continue;
    loading.add(id);
    try {
      const { ok, content } = await ask(`/queue/cards/${id}`);
      const card = content.querySelector(".card");
      if (ok && card && !card.classList.contains("gone") && wanted.includes(Number(id))) place(card);
    } catch (error) {
      failed(error);
      return;
    } finally {
      loading.delete(id);
    }
  }
}

// Before the first of those that follow it in the queue's order.
function place(card) {
  const at = wanted.indexOf(Number(card.dataset.id));
  const after = new Map(wanted.map((id, place) => [String(id), place]));
  const next = cards().find((other) => (after.get(other.dataset.id) ?? -1) > at);
  card.classList.add("new");
  queue.insertBefore(card, next ?? null);
  say(`Action ${card.dataset.id} arrived: ${card.querySelector("h2").textContent}`);
  tick();
}

// --- Deciding: always two steps, the second in the form that names the action ---

function arm(form, decision) {
  const button = form.querySelector(`button[value="${decision}"]`);
  if (!button || button.disabled) return;
  disarm();
  const id = form.closest("[data-id]").dataset.id;
  const digest = form.elements.digest.value.slice(0, 12);
  form.dataset.armed = decision;
  const line = form.querySelector(".confirm");
  line.textContent = `Enter ${decision === "approve" ? "approves" : "rejects"} action ${id}, digest ${digest}…${also(form, decision)}; Escape does not. `;
  const sure = document.createElement("button");
  sure.type = "submit";
  sure.name = "decision";
  sure.value = decision;
  sure.className = decision;
  sure.textContent = decision === "approve" ? `Yes, approve ${id}` : `Yes, reject ${id}`;
  sure.dataset.sure = "";
  line.append(sure);
  line.hidden = false;
  form.elements.comment.focus();
  say(line.textContent);
}

// What else an approval lets pass.
function also(form, decision) {
  if (decision !== "approve") return "";
  const chosen = ["also_minutes", "also_calls"]
    .map((name) => form.elements[name])
    .filter((field) => field?.value)
    .map((field) => `${field.value} ${field.name.slice(5)}`);
  const when = form.elements.also_when?.value.trim();
  const only = when ? `, when ${when}` : "";
  return chosen.length ? `, and the same again for ${chosen.join(" and ")}${only}` : "";
}

function disarm() {
  for (const form of document.querySelectorAll("form[data-armed]")) {
    delete form.dataset.armed;
    form.querySelector(".confirm").replaceChildren();
    form.querySelector(".confirm").hidden = true;
  }
}

async function decide(form, decision) {
  const card = form.closest("[data-id]");
  const body = new URLSearchParams(new FormData(form));
  body.set("decision", decision);
  for (const button of form.querySelectorAll("button")) button.disabled = true;
  let answer;
  try {
    answer = await ask(form.action, { method: "POST", body, headers: { accept: "text/x-fragment" } });
  } catch (error) {
    for (const button of form.querySelectorAll("button")) button.disabled = false;
    failed(error);
    return;
  }
  const told = answer.content.querySelector(".notice")?.textContent ?? "That did not work.";
  if (!queue) {
    if (answer.ok) location.reload(); else refuse(form, told);
    return;
  }
  say(told);
  if (answer.ok && answer.content.querySelector("[data-waits]")) {
    refuse(form, told);
    form.reset();
    card.focus();
  } else if (answer.ok) {
    const next = card.nextElementSibling ?? card.previousElementSibling;
    card.remove();
    (next ?? $("queue-title")).focus();
  } else {
    refuse(form, told);
  }
}

function refuse(form, told) {
  disarm();
  const line = form.querySelector(".confirm");
  line.textContent = told;
  line.hidden = false;
  say(told);
  for (const button of form.querySelectorAll("button")) button.disabled = false;
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.classList.contains("decide")) return;
  event.preventDefault();
  const button = event.submitter;
  if (!button) return;
  if (button.hasAttribute("formaction")) {
    form.action = button.formAction;
    form.submit();
    return;
  }
  if ("sure" in button.dataset) decide(form, button.value);
  else arm(form, button.value);
});

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-whole]");
  if (!link) return;
  event.preventDefault();
  await whole(link);
});

async function whole(link) {
  const card = link.closest("[data-id]");
  try {
    const { ok, content } = await ask(`/actions/${card.dataset.id}/arguments`);
    if (!ok) return;
    card.querySelector(".values").replaceChildren(content);
    link.parentElement.remove();
    say(`All arguments of action ${card.dataset.id} are shown.`);
  } catch (error) {
    failed(error);
  }
}

// --- Keys ---

function current() {
  return document.activeElement?.closest?.("#queue > .card, article.action");
}

function move(by) {
  const all = cards();
  if (!all.length) return;
  const at = all.indexOf(current());
  const next = at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by));
  all[next].focus();
  all[next].scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const target = event.target;
  const armed = target.closest?.("form[data-armed]");
  if (event.key === "Escape" && armed) {
    disarm();
    (armed.closest(".card") ?? target).focus();
    return;
  }
  if (armed && target.matches("textarea") && event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    // A key that is held down is one keystroke.
    if (!event.repeat) decide(armed, armed.dataset.armed);
    return;
  }
  if (target.matches?.("input, textarea, select") || document.querySelector("dialog[open]")) return;
  if (event.repeat && !"jk".includes(event.key)) return;
  const card = current() ?? document.querySelector("article.action");
  switch (event.key) {
    case "j": move(1); break;
    case "k": move(-1); break;
    case "a":
    case "r": {
      const form = card?.querySelector("form.decide");
      if (!form) return;
      // Else the letter would stand in the comment.
      event.preventDefault();
      arm(form, event.key === "a" ? "approve" : "reject");
      break;
    }
    case "e": card?.querySelector("a[data-whole]")?.click(); break;
    case "o": card?.querySelector("h2 a")?.click(); break;
    case "?": $("keys")?.showModal(); break;
  }
});

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") connect();
});

tick();
setInterval(tick, 1000);
connect();
