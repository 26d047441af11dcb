use ascend_sdk::{Refusal, high_risk_action};

struct Disk;

impl Disk {
    /// Wipes everything.
    #[high_risk_action(action_type = "disk.wipe", resource = "disk")]
    async fn wipe(&self, #[cfg(unix)] force: bool) -> Result<bool, Refusal> {
        Ok(force)
    }
}

fn main() {
    let _ = Disk.wipe(true);
}
