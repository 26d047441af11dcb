//! Grants: what approvers need not be asked about again for a while.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use crate::{
    Approver, Center, DecideError, Grant, GrantError, NewGrant, Record, StoreError,
    policy::Engine,
    store::{Granted, Store},
};

/// How much one grant can let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GrantLimits {
    pub(crate) lasting: Duration,
    pub(crate) calls: u32,
}

impl Default for GrantLimits {
    fn default() -> Self {
        Self { lasting: Duration::from_secs(24 * 3600), calls: 1000 }
    }
}

impl GrantLimits {
    /// The grant with all its bounds, when it has one and they are not too wide.
    fn bound(self, new: NewGrant) -> Result<NewGrant, GrantError> {
        if new.lasting.is_none() && new.calls.is_none() {
            return Err(GrantError::Unbounded);
        }
        let lasting = new.lasting.unwrap_or(self.lasting);
        let calls = new.calls.unwrap_or(self.calls);
        if lasting < Duration::from_secs(1) || lasting > self.lasting {
            let longest = self.lasting.as_secs();
            let hours = match longest % 3600 {
                0 => format!("{} h", longest / 3600),
                _ => format!("{longest} s"),
            };
            return Err(GrantError::Limit(format!(
                "a grant lasts for at least a second, and at most {hours} here"
            )));
        }
        if calls == 0 || calls > self.calls {
            let most = self.calls;
            return Err(GrantError::Limit(format!(
                "a grant is for at least one call, and at most {most} here"
            )));
        }
        Ok(NewGrant { lasting: Some(lasting), calls: Some(calls), ..new })
    }
}

impl Center {
    /// Gives a grant: calls that it covers have this approver's vote from now on,
    /// until it ends. Where a policy asks for several people, it is one of them.
    /// Never for what is denied, nor while the kill switch is raised; for what
    /// requires a person each time, or has critical risk, only where the policies
    /// that ask say `@grants("allow")`.
    ///
    /// # Errors
    ///
    /// When the approver may not any more, the grant has no end or too late a one,
    /// its condition is none by the policies' schema, or it is for an agent of
    /// which the approver has a key.
    pub async fn grant(&self, approver: &Approver, new: NewGrant) -> Result<Grant, GrantError> {
        let is_named =
            |name: &Option<String>| name.as_ref().is_some_and(|it| !it.trim().is_empty());
        if !is_named(&new.tool) && !is_named(&new.action) || new.resource.is_empty() {
            return Err(GrantError::Terms(
                "a grant names a tool or an action, and a resource; `*` stands for any".to_owned(),
            ));
        }
        let new = self.checked(new)?;
        self.store().grant(approver.person().clone(), new).await
    }

    /// Approves a pending action, and gives a grant for calls like it, both or
    /// neither.
    ///
    /// # Errors
    ///
    /// As for [`approve`](Self::approve) and [`grant`](Self::grant).
    pub async fn approve_and_grant(
        &self,
        id: i64,
        approver: &Approver,
        comment: Option<String>,
        new: NewGrant,
    ) -> Result<(Record, Grant), DecideError> {
        let new = match self.action(id).await? {
            // For the condition to be read by the tool's types.
            Some(record) => NewGrant { tool: Some(record.tool), ..new },
            None => return Err(DecideError::Unknown(id)),
        };
        let new = self.checked(new)?;
        let person = approver.person().clone();
        let (record, grant) = self.store().vote(id, person, comment, Some(new)).await?;
        let record = self.decided(record);
        Ok((record, grant.ok_or(GrantError::Unbounded)?))
    }

    /// The newest `limit` grants, the newest first, also those that are over.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn grants(&self, limit: u32) -> Result<Vec<Grant>, StoreError> {
        self.store().grants(limit).await
    }

    /// Ends a grant at once, for pending actions too that it counted for; whether
    /// it was live. What was approved by it stays approved.
    ///
    /// # Errors
    ///
    /// When the approver may not any more, or there is no such grant.
    pub async fn revoke_grant(&self, approver: &Approver, id: i64) -> Result<bool, GrantError> {
        self.store().revoke_grant(approver.person().clone(), id).await
    }

    /// What policies ask of approvals that nobody can give now: in each sentence a
    /// group with fewer people who may approve than the policy asks for.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn rules_without_people(&self) -> Result<Vec<String>, StoreError> {
        unmet(self.store(), &self.engine()).await
    }

    /// The same of other policies.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn rules_of_without_people(
        &self,
        set: &crate::PolicySet,
    ) -> Result<Vec<String>, StoreError> {
        unmet(self.store(), &set.engine).await
    }

    fn checked(&self, new: NewGrant) -> Result<NewGrant, GrantError> {
        let new = self.grant_limits().bound(new)?;
        let granted = Granted {
            id: 0,
            tool: new.tool.clone(),
            resource: new.resource.clone(),
            condition: new.condition.clone(),
        };
        self.engine().check_grant(&granted).map_err(GrantError::Condition)?;
        Ok(new)
    }
}

/// What policies ask of approvals that nobody can give now.
async fn unmet(store: &Store, engine: &Engine) -> Result<Vec<String>, StoreError> {
    let mut sentences = Vec::new();
    for (rule, place) in engine.asked_rules() {
        let groups = [(&rule.approvers, rule.quorum), (&rule.escalate_to, 1)];
        for (group, needed) in groups {
            let Some(group) = group else { continue };
            let there = store.approvers_in(group).await?;
            if there < needed {
                let policy = rule.policies.join(", ");
                sentences.push(format!(
                    "{place}: policy `{policy}` asks for {needed} of `{group}`, in which there \
                     {} who may approve",
                    match there {
                        0 => "is nobody".to_owned(),
                        1 => "is one".to_owned(),
                        there => format!("are {there}"),
                    }
                ));
            }
        }
    }
    Ok(sentences)
}

/// Has the log say so, as long as somebody holds the database.
pub(crate) async fn warn_of_unmet(store: Weak<Store>, engine: Arc<Engine>) {
    let Some(store) = store.upgrade() else { return };
    match unmet(&store, &engine).await {
        Ok(sentences) => {
            for sentence in sentences {
                tracing::warn!("{sentence}");
            }
        }
        Err(error) => tracing::warn!(%error, "nobody could see whether the rules can be met"),
    }
}
