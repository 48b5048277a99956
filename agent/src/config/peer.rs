//! Peer groups: names for ranges of addresses.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

/// Groups that the kernel can tell apart besides `other`.
pub(super) const MAX_GROUPS: usize = 64;
/// Ranges over all groups.
pub(super) const MAX_PREFIXES: usize = 16_384;

/// A range of addresses, such as `10.0.0.0/8` or `2001:db8::/32`; a lone address is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct Prefix(IpNet);

impl Prefix {
    /// First address of the range: every bit behind the prefix is 0.
    pub fn address(self) -> IpAddr {
        self.0.addr()
    }

    /// Number of leading bits that all addresses of the range share.
    pub fn bits(self) -> u8 {
        self.0.prefix_len()
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let net = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| {
                format!("`{text}` is no address range; write it like 10.0.0.0/8 or 2001:db8::/32")
            })?;
        if net.addr() != net.network() {
            let meant = net.trunc();
            return Err(format!(
                "`{text}` has bits set behind its prefix; did you mean {meant}?"
            ));
        }
        // The kernel shows such peers as IPv4: the range would never match.
        if let IpAddr::V6(address) = net.addr()
            && address.to_ipv4_mapped().is_some()
        {
            return Err(format!("`{text}` maps IPv4 into IPv6; write it as IPv4"));
        }
        Ok(Self(net))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// Parsed while the text is read and not afterwards, so that an error has the place of this range
// and not of its whole list.
impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(PrefixVisitor)
    }
}

struct PrefixVisitor;

impl Visitor<'_> for PrefixVisitor {
    type Value = Prefix;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address range such as \"10.0.0.0/8\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Prefix, E> {
        text.parse().map_err(E::custom)
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

/// Named lists of address ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(example = json!({"isp": ["10.0.0.0/8", "2001:db8::/32"]}))]
pub struct PeerGroups(
    #[schemars(with = "BTreeMap<String, Vec<String>>")] BTreeMap<String, Vec<Prefix>>,
);

impl PeerGroups {
    /// Groups with their ranges, sorted by name. The same configuration gives the same order, so a
    /// group's place is its number in the kernel.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[Prefix])> {
        self.0
            .iter()
            .map(|(name, prefixes)| (name.as_str(), prefixes.as_slice()))
    }

    /// All ranges as the kernel looks them up: address with IPv4 mapped into IPv6, bits of the
    /// prefix, and the group's number: its place in [`iter`](Self::iter), from 1 on; 0 is `other`.
    pub fn table(&self) -> Vec<([u8; 16], u32, u8)> {
        let mut table: Vec<_> = (1..)
            .zip(self.0.values())
            .flat_map(|(group, prefixes)| prefixes.iter().map(move |prefix| (prefix, group)))
            .map(|(prefix, group)| match prefix.address() {
                IpAddr::V4(address) => (mapped(address), 96 + u32::from(prefix.bits()), group),
                IpAddr::V6(address) => (address.octets(), u32::from(prefix.bits()), group),
            })
            .collect();
        // A range such as ::/0 covers the mapped addresses too, though nobody means IPv4 by it.
        let all_v4 = mapped(Ipv4Addr::UNSPECIFIED);
        let is_over_v4 =
            |(address, bits, _): &([u8; 16], u32, u8)| *bits <= 80 && *address == [0; 16];
        let has_all_v4 = table
            .iter()
            .any(|(address, bits, _)| (*address, *bits) == (all_v4, 96));
        if table.iter().any(is_over_v4) && !has_all_v4 {
            table.push((all_v4, 96, 0));
        }
        table
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is wrong with them, each beginning with the key.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.0.len() > MAX_GROUPS {
            faults.push(format!(
                "peer_groups has {} groups: give at most {MAX_GROUPS}",
                self.0.len()
            ));
        }
        let total: usize = self.0.values().map(Vec::len).sum();
        if total > MAX_PREFIXES {
            faults.push(format!(
                "peer_groups has {total} ranges: give at most {MAX_PREFIXES}"
            ));
        }
        let mut known: BTreeMap<Prefix, (&str, usize)> = BTreeMap::new();
        for (name, prefixes) in &self.0 {
            faults.extend(name_fault(name));
            for (index, prefix) in prefixes.iter().enumerate() {
                if let Some((other, first)) = known.insert(*prefix, (name, index)) {
                    let here = format!("peer_groups.{name}[{index}]");
                    let there = format!("peer_groups.{other}[{first}]");
                    // One for each place, so that both lines are told.
                    for (one, two) in [(&there, &here), (&here, &there)] {
                        faults.push(format!(
                            "{one} is {prefix}, and so is {two}: a range belongs to one group"
                        ));
                    }
                }
            }
        }
        faults
    }
}

fn mapped(address: Ipv4Addr) -> [u8; 16] {
    address.to_ipv6_mapped().octets()
}

fn name_fault(name: &str) -> Option<String> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_fit) {
        return Some(format!(
            "peer_groups has a group `{}`: name it by 1 to 64 letters, digits, `_` and `-`",
            name.escape_debug()
        ));
    }
    (name == "other").then(|| {
        "peer_groups.other is what peers without a group are called: choose another name".to_owned()
    })
}
