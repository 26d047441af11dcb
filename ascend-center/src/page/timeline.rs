//! Risk and decisions over time, as a picture, and the same as a table.

use jiff::Timestamp;
use maud::{Markup, html};

use super::words::{count, counted};
use crate::{ActionState, moment, store::Past};

/// The picture's measures, in its own units: above the risk of each action,
/// below how many there were and what became of them.
const WIDTH: i64 = 960;
const LEFT: i64 = 40;
const RISKS: i64 = 110;
const GAP: i64 = 14;
const BARS: i64 = 60;
const FOOT: i64 = 20;
/// Into how many parts the time is cut.
const PARTS: i64 = 48;
/// The most dots; of more, the riskiest of each part stay.
const DOTS: usize = 600;

/// What became of an action, as far as the picture tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Allowed,
    Approved,
    Waiting,
    Refused,
    Lapsed,
}

impl End {
    const ALL: [Self; 5] =
        [Self::Allowed, Self::Approved, Self::Waiting, Self::Refused, Self::Lapsed];

    fn of(past: &Past) -> Self {
        match past.state {
            ActionState::Pending => Self::Waiting,
            ActionState::Denied | ActionState::Rejected => Self::Refused,
            ActionState::Expired | ActionState::Withdrawn => Self::Lapsed,
            _ if past.reviewed_by.is_some() => Self::Approved,
            _ => Self::Allowed,
        }
    }

    const fn class(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Approved => "approved",
            Self::Waiting => "waiting",
            Self::Refused => "refused",
            Self::Lapsed => "lapsed",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Allowed => "allowed by policy",
            Self::Approved => "approved by a person",
            Self::Waiting => "waiting",
            Self::Refused => "denied or rejected",
            Self::Lapsed => "expired or withdrawn",
        }
    }
}

/// The actions of one part of the time.
#[derive(Debug, Clone, Default)]
struct Part {
    ends: [usize; 5],
    highest: u8,
}

impl Part {
    fn total(&self) -> usize {
        self.ends.iter().sum()
    }
}

struct Time {
    from: i64,
    to: i64,
}

impl Time {
    fn of(actions: &[Past]) -> Option<Self> {
        let times = || actions.iter().map(|past| past.created_at.as_millisecond());
        let (from, to) = (times().min()?, times().max()?);
        // A moment has some width too.
        Some(Self { from, to: to.max(from + 60_000) })
    }

    fn part(&self, at: Timestamp) -> i64 {
        let since = at.as_millisecond() - self.from;
        (since * PARTS / (self.to - self.from + 1)).clamp(0, PARTS - 1)
    }

    fn x(&self, at: Timestamp) -> i64 {
        LEFT + (at.as_millisecond() - self.from) * (WIDTH - LEFT - 8) / (self.to - self.from)
    }

    fn start(&self, part: i64) -> Timestamp {
        let at = self.from + part * (self.to - self.from + 1) / PARTS;
        Timestamp::from_millisecond(at).unwrap_or_default()
    }
}

fn parts(actions: &[Past], time: &Time) -> Vec<Part> {
    let mut parts = vec![Part::default(); usize::try_from(PARTS).unwrap_or_default()];
    for past in actions {
        let at = usize::try_from(time.part(past.created_at)).unwrap_or_default();
        if let Some(part) = parts.get_mut(at) {
            let end = End::of(past);
            let place = End::ALL.iter().position(|known| *known == end).unwrap_or_default();
            part.ends[place] += 1;
            part.highest = part.highest.max(past.risk_score);
        }
    }
    parts
}

/// The picture; `cut` where there are more actions than it shows.
pub(super) fn timeline(actions: &[Past], cut: bool) -> Markup {
    let Some(time) = Time::of(actions) else { return html! {} };
    let parts = parts(actions, &time);
    let (from, to) = (
        actions.iter().map(|past| past.created_at).min(),
        actions.iter().map(|past| past.created_at).max(),
    );
    let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
    let of = |end: End| actions.iter().filter(|past| End::of(past) == end).count();
    let told: Vec<String> = End::ALL
        .into_iter()
        .filter(|end| of(*end) > 0)
        .map(|end| format!("{} {}", count(of(end)), end.words()))
        .collect();
    html! {
        figure.timeline {
            div.picture tabindex="0" role="region" aria-label="Picture" {
                (picture(actions, &time, &parts, &told.join(", ")))
            }
            figcaption {
                @if cut { "The newest " }
                (counted(actions.len(), "action")) ", " (moment(from)) " to " (moment(to)) ". "
                "Above, the risk of each; below, how many, and what became of them."
                ul.legend {
                    @for end in End::ALL { li { span.swatch.(end.class()) {} (end.words()) } }
                }
            }
            details {
                summary { "The same as a table" }
                (table(&parts, &time))
            }
        }
    }
}

fn picture(actions: &[Past], time: &Time, parts: &[Part], told: &str) -> Markup {
    let height = RISKS + GAP + BARS + FOOT;
    let most = i64::try_from(parts.iter().map(Part::total).max().unwrap_or(1)).unwrap_or(1).max(1);
    let y = |risk: i64| 6 + (100 - risk) * (RISKS - 12) / 100;
    let width = (WIDTH - LEFT - 8) / PARTS;
    let mut dots: Vec<&Past> = actions.iter().collect();
    // The riskiest are drawn last, over the others.
    dots.sort_by_key(|past| past.risk_score);
    let dots = &dots[dots.len().saturating_sub(DOTS)..];
    let floor = RISKS + GAP + BARS;
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-labelledby="timeline-title" {
            title #timeline-title { "Risk and decisions over time: " (told) }
            @for risk in [0, 30, 60, 85, 100] {
                line.grid x1=(LEFT) x2=(WIDTH - 8) y1=(y(risk)) y2=(y(risk)) {}
                text.scale x=(LEFT - 6) y=(y(risk) + 4) text-anchor="end" { (risk) }
            }
            @for past in dots {
                circle.(End::of(past).class()) cx=(time.x(past.created_at)) cy=(y(past.risk_score.into())) r="3.5" {}
            }
            @for (at, part) in (0..).zip(parts) {
                (bar(part, LEFT + at * (WIDTH - LEFT - 8) / PARTS, width - 2, floor, most))
            }
            text.scale x=(LEFT - 6) y=(RISKS + GAP + 8) text-anchor="end" { (most) }
            line.base x1=(LEFT) x2=(WIDTH - 8) y1=(floor) y2=(floor) {}
            text.scale x=(LEFT) y=(height - 4) { (moment(time.start(0))) }
            text.scale x=(WIDTH - 8) y=(height - 4) text-anchor="end" { (moment(Timestamp::from_millisecond(time.to).unwrap_or_default())) }
        }
    }
}

fn bar(part: &Part, x: i64, width: i64, floor: i64, most: i64) -> Markup {
    let mut under = 0;
    html! {
        @for (end, number) in End::ALL.into_iter().zip(part.ends) {
            @if number > 0 {
                ({
                    let number = i64::try_from(number).unwrap_or(i64::MAX);
                    // From what is under it to what is over it, so that rounding leaves no gap.
                    let bottom = floor - under * BARS / most;
                    under += number;
                    let top = (floor - under * BARS / most).min(bottom - 1);
                    html! { rect.(end.class()) x=(x) y=(top) width=(width) height=(bottom - top) {} }
                })
            }
        }
    }
}

fn table(parts: &[Part], time: &Time) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Risk and decisions over time" {
            table {
                thead { tr {
                    th scope="col" { "From" } th scope="col" { "Highest risk" }
                    @for end in End::ALL { th scope="col" { (end.words()) } }
                } }
                tbody {
                    @for (at, part) in (0..).zip(parts) {
                        @if part.total() > 0 {
                            tr {
                                td { (moment(time.start(at))) } td.number { (part.highest) }
                                @for number in part.ends { td.number { (count(number)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
