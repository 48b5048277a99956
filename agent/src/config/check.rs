//! Checks that are more than a type or a range. A fault begins with the key it is about, so that
//! its line can be told.

use super::{Config, Kernel};

impl Config {
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = self.kernel.faults();
        faults.extend(self.peer_groups.faults());
        let exporters = [
            self.prometheus.check(),
            self.otlp.check(),
            self.alert.check(),
        ];
        let wrong = exporters.into_iter().filter_map(Result::err);
        faults.extend(wrong.map(|why| format!("{why:#}")));
        faults
    }
}

impl Kernel {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.ring_bytes.is_power_of_two() {
            let near = self.ring_bytes.checked_next_power_of_two();
            faults.push(format!(
                "kernel.ring_bytes is {}: give a power of two such as {}",
                self.ring_bytes,
                near.unwrap_or(1 << 20)
            ));
        }
        if u64::from(self.ring_bytes) > self.memory_bytes / 2 {
            faults.push(format!(
                "kernel.ring_bytes is {}: give at most half of kernel.memory_bytes, which is {}",
                self.ring_bytes, self.memory_bytes
            ));
        }
        for (index, name) in self.disabled.iter().enumerate() {
            if self.required.contains(name) {
                faults.push(format!(
                    "kernel.disabled[{index}] is `{name}`, which kernel.required names too"
                ));
            }
        }
        faults
    }
}
