use proptest::prelude::*;

use super::*;
use crate::life::{ActionState, Event, Life};

const PEOPLE: [&str; 5] = ["alice", "bob", "carol", "dan", "Alice"];
const GROUPS: [&str; 3] = ["dba", "managers", "security"];
const EXPIRES: i64 = 1_000;

fn digest(byte: u8) -> Digest {
    hex::encode([byte; 32]).parse().expect("a digest")
}

fn group() -> impl Strategy<Value = Option<String>> {
    prop::option::weighted(0.8, prop::sample::select(&GROUPS[..]).prop_map(str::to_owned))
}

fn rule() -> impl Strategy<Value = Rule> {
    let grants = [GrantUse::UnlessHighRisk, GrantUse::Allow, GrantUse::Deny];
    (group(), 1_u32..4, group(), prop::sample::select(grants.to_vec())).prop_map(
        |(approvers, quorum, escalate_to, grants)| Rule {
            approvers,
            quorum,
            escalate_to,
            grants,
            ..Rule::default()
        },
    )
}

fn voter() -> impl Strategy<Value = Voter> {
    let groups = prop::collection::btree_set(prop::sample::select(&GROUPS[..]), 0..3);
    (prop::bool::weighted(0.8), prop::bool::weighted(0.2), groups, any::<bool>()).prop_map(
        |(is_approver, is_requester, groups, grant_stands)| Voter {
            is_approver,
            is_requester,
            groups: groups.into_iter().map(str::to_owned).collect(),
            grant_stands,
        },
    )
}

fn vote(person: &str, grant: bool, digest: Digest) -> Vote {
    Vote {
        person: person.to_owned(),
        is_owner: false,
        grant: grant.then_some(7),
        comment: None,
        at: Timestamp::UNIX_EPOCH,
        digest,
        counts_for: Vec::new(),
    }
}

/// What happens to a pending action.
#[derive(Debug, Clone)]
enum Step {
    Vote { person: usize, grant: bool, digest: u8 },
    TakeBack(usize),
    Becomes(usize, Voter),
    Reject,
}

fn step() -> impl Strategy<Value = Step> {
    let person = 0..PEOPLE.len();
    prop_oneof![
        6 => (person.clone(), prop::bool::weighted(0.3), prop_oneof![9 => Just(1_u8), 1 => Just(2)])
            .prop_map(|(person, grant, digest)| Step::Vote { person, grant, digest }),
        1 => person.clone().prop_map(Step::TakeBack),
        2 => (person, voter()).prop_map(|(person, voter)| Step::Becomes(person, voter)),
        1 => prop::bool::weighted(0.1).prop_filter_map("rare", |it| it.then_some(Step::Reject)),
    ]
}

/// The rule's words, written down a second time: by sets of people.
fn is_met(rule: &Rule, votes: &[Vote], voters: &[Voter], escalated: bool) -> bool {
    let mut people = BTreeSet::new();
    for vote in votes {
        let place = PEOPLE.iter().position(|person| *person == vote.person).expect("one");
        let voter = &voters[place];
        let in_group = |group: &Option<String>| match group {
            Some(group) => voter.groups.contains(group),
            None => false,
        };
        let in_time = match escalated {
            true => in_group(&rule.approvers) || in_group(&rule.escalate_to),
            false => in_group(&rule.approvers),
        };
        let granted = vote.grant.is_none() || voter.grant_stands && rule.grants == GrantUse::Allow;
        if (rule.approvers.is_none() || in_time)
            && voter.is_approver
            && !voter.is_requester
            && granted
            && vote.digest == digest(1)
        {
            people.insert(vote.person.to_lowercase());
        }
    }
    people.len() >= rule.quorum as usize
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Approved, if and only if for each rule there are at least as many enabled
    /// people of its group as it takes (or after half of the time of the group that
    /// it is escalated to), none of them the requester, none of them counted twice,
    /// nobody rejected, and the time was not over. And it is approved by the first
    /// event at which that is so: no further vote is waited for.
    #[test]
    fn an_action_is_approved_exactly_when_all_its_rules_are_met(
        rules in prop::collection::vec(rule(), 0..4),
        mut voters in prop::collection::vec(voter(), PEOPLE.len()),
        steps in prop::collection::vec((step(), 0_i64..150), 0..16),
    ) {
        let mut life = Life {
            state: ActionState::Pending,
            digest: digest(1),
            expires_at: EXPIRES,
            promised: false,
            in_client: false,
        };
        let mut votes: Vec<Vote> = Vec::new();
        let (mut now, mut rejected, mut approved_before) = (0, false, false);
        for (step, later) in steps {
            now += later;
            let was = life.at(now);
            life = was;
            match step {
                Step::Vote { person, grant, digest: byte } if was.state == ActionState::Pending => {
                    votes.retain(|vote| !vote.is_by(PEOPLE[person]));
                    votes.push(vote(PEOPLE[person], grant, digest(byte)));
                }
                Step::TakeBack(person) if was.state == ActionState::Pending => {
                    votes.retain(|vote| !vote.is_by(PEOPLE[person]));
                }
                Step::Vote { .. } | Step::TakeBack(_) => {}
                Step::Becomes(person, voter) => voters[person] = voter,
                Step::Reject => {
                    let (next, answer) = life.after(Event::Reject, now, false);
                    rejected |= answer.is_ok();
                    life = next;
                }
            }
            let escalated = now >= EXPIRES / 2;
            let of = |vote: &Vote| {
                let place = PEOPLE.iter().position(|person| *person == vote.person);
                voters[place.expect("one")].clone()
            };
            let (next, answer) = life.after(Event::Approve, now, false);
            let met = tally(&rules, &mut votes, of, digest(1), escalated);
            if met && answer.is_ok() {
                life = next;
            }
            let expected = !rules.is_empty()
                && rules.iter().all(|rule| is_met(rule, &votes, &voters, escalated));
            prop_assert_eq!(met, expected);
            let should = !rejected && (approved_before || was.state == ActionState::Pending && expected);
            if now < EXPIRES {
                prop_assert_eq!(life.state == ActionState::Approved, should);
            } else if !approved_before {
                prop_assert!(life.state != ActionState::Approved, "approved after its time");
            }
            approved_before |= life.state == ActionState::Approved;
            let missing: u32 =
                progress(&rules, &votes, escalated).iter().map(|it| it.missing).sum();
            prop_assert_eq!(missing == 0 && !rules.is_empty(), met);
        }
    }
}

#[test]
fn rules_are_told_in_words() {
    let rule = Rule {
        approvers: Some("dba".to_owned()),
        quorum: 2,
        within: Some(Duration::from_secs(5_400)),
        escalate_to: Some("managers".to_owned()),
        ..Rule::default()
    };
    assert_eq!(rule.to_string(), "2 of `dba` within 1h 30m, from half of it on `managers` too");
    assert_eq!(Rule::default().to_string(), "any approver");
    let votes = [Vote { counts_for: vec![0], ..vote("alice", true, digest(1)) }];
    let told = progress(std::slice::from_ref(&rule), &votes, true);
    assert_eq!(told[0].to_string(), "1 of 2 approvals by `dba` or `managers`");
    assert_eq!(told[0].approved_by, ["grant 7 of alice"]);
    let json = serde_json::to_string(&rule).expect("JSON");
    assert_eq!(serde_json::from_str::<Rule>(&json).expect("the same"), rule);
}
