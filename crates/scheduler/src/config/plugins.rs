//! The plugins of a document, and those that are added: found by name, checked for what they are used as.

use super::fields::{Fields, Report};
use super::flow::{FairnessPolicy, OrderingPolicy, Policies};
use super::read;
use super::settings::{Approx, PrefixDecider, Settings};
use super::types::{self, APPROX, Ability, Aside, EXPERIMENTAL, PREFIX_DECIDER};
use super::{Options, Plugin};

/// The plugins so far.
pub(super) struct Plugins {
    pub(super) list: Vec<Plugin>,
    /// Where each was declared; empty for those that were added.
    pub(super) pointers: Vec<String>,
    asides: Vec<Aside>,
    /// A declaration could not be read: what is missing may be that one.
    pub(super) incomplete: bool,
}

impl Plugins {
    pub(super) fn read(
        fields: &mut Fields<'_>,
        options: &Options,
        report: &mut Report<'_>,
    ) -> Self {
        let mut plugins = Self {
            list: Vec::new(),
            pointers: Vec::new(),
            asides: Vec::new(),
            incomplete: false,
        };
        for (item, pointer) in fields.list("plugins", report) {
            let mut item = Fields::new(Some(item), pointer.clone(), report);
            let kind = item.string("type", report).unwrap_or("");
            let name = item
                .string("name", report)
                .filter(|name| !name.is_empty())
                .unwrap_or(kind);
            let parameters = item.take("parameters");
            item.finish(report);
            if kind.is_empty() {
                report.error(&pointer, "the plugin is missing a type");
                plugins.incomplete = true;
                continue;
            }
            if plugins.find(name).is_some() {
                report.error(&pointer, format!("duplicate plugin name {name:?}"));
            }
            if EXPERIMENTAL.contains(&kind) && !options.experimental {
                report.error(
                    &format!("{pointer}/type"),
                    format!("`{kind}` is experimental; it needs --allow-experimental-plugins"),
                );
            }
            match types::settings(kind, parameters, &pointer, report) {
                None => plugins.incomplete = true,
                Some((settings, aside)) => {
                    plugins.list.push(Plugin {
                        name: name.to_owned(),
                        kind: kind.to_owned(),
                        settings,
                        parameters: parameters.cloned(),
                        injected: false,
                    });
                    plugins.pointers.push(pointer);
                    plugins.asides.push(aside);
                }
            }
        }
        plugins
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|plugin| plugin.name == name)
    }

    pub(super) fn add(&mut self, name: &str, kind: &str, settings: Settings) -> usize {
        self.list.push(Plugin {
            name: name.to_owned(),
            kind: kind.to_owned(),
            settings,
            parameters: None,
            injected: true,
        });
        self.pointers.push(String::new());
        self.asides.push(Aside::default());
        self.list.len() - 1
    }

    /// The plugin named as `kind`; it is added with its defaults if there is none.
    pub(super) fn ensure(&mut self, kind: &str) -> Option<usize> {
        if let Some(known) = self.find(kind) {
            return Some(known);
        }
        let mut unheard = Report::new(None);
        let (settings, _) = types::settings(kind, None, "", &mut unheard)?;
        Some(self.add(kind, kind, settings))
    }

    /// What parameters of older generations say about other plugins.
    pub(super) fn carry_over(&mut self, report: &mut Report<'_>) {
        for index in 0..self.list.len() {
            if let Some(threshold) = self.asides[index].threshold {
                self.carry_threshold(index, threshold, report);
            }
            let Some(old) = self.asides[index].old_prefix.clone() else {
                continue;
            };
            if self.find(APPROX).is_some() {
                let pointer = format!("{}/parameters", self.pointers[index]);
                report.warn(
                    &pointer,
                    format!("`{APPROX}` is declared; its own parameters are used"),
                );
                continue;
            }
            let mut unheard = Report::new(None);
            let mut none = Fields::new(None, String::new(), &mut unheard);
            let default = read::approx(&mut none, &mut unheard);
            let number = |value: Option<u64>, default: usize| {
                value.map_or(default, |value| usize::try_from(value).unwrap_or(default))
            };
            let settings = Approx {
                auto_tune: old.auto_tune.unwrap_or(default.auto_tune),
                block_size: old
                    .block_size
                    .filter(|size| *size > 0)
                    .map_or(default.block_size, |size| {
                        u32::try_from(size).unwrap_or(u32::MAX)
                    }),
                max_blocks: number(old.max_blocks, default.max_blocks),
                // A limit in blocks would be beaten by the default one in tokens.
                max_tokens: if old.max_blocks.is_some() {
                    0
                } else {
                    default.max_tokens
                },
                capacity: number(old.capacity, default.capacity).max(1),
            };
            self.add(APPROX, APPROX, Settings::ApproxPrefixProducer(settings));
        }
    }

    /// `threshold` of the older handler: 0 is always, a number of characters is a number of tokens not cached.
    fn carry_threshold(&mut self, handler: usize, threshold: u64, report: &mut Report<'_>) {
        let (kind, settings) = if threshold == 0 {
            ("always-disagg-pd-decider", Settings::AlwaysDecider)
        } else {
            let decider = PrefixDecider {
                non_cached: threshold.div_ceil(4),
                prompt: 0,
                producer: APPROX.to_owned(),
            };
            (PREFIX_DECIDER, Settings::PrefixDecider(decider))
        };
        report.warn(
            &format!("{}/parameters/threshold", self.pointers[handler]),
            format!("is deprecated; it is taken for a `{kind}`"),
        );
        let name = if self.find(kind).is_none() {
            kind.to_owned()
        } else {
            format!("{kind}-by-threshold")
        };
        self.add(&name, kind, settings);
        if let Settings::DisaggHandler(handler) = &mut self.list[handler].settings {
            handler.prefill_decider = Some(name);
        }
    }

    /// The plugin with a name, which must have an ability. A type's own name stands for an instance with defaults.
    pub(super) fn reference(
        &mut self,
        name: &str,
        ability: Ability,
        at: &str,
        report: &mut Report<'_>,
    ) -> Option<usize> {
        let found = match self.find(name) {
            Some(found) => Some(found),
            None if types::is_known(name) => {
                let added = self.ensure(name);
                added.filter(|index| self.list[*index].settings.is(ability))
            }
            None => None,
        };
        let Some(index) = found else {
            if !self.incomplete {
                report.error(at, format!("references undefined plugin {name:?}"));
            }
            return None;
        };
        if !self.list[index].settings.is(ability) {
            report.error(
                at,
                format!(
                    "plugin {name:?} ({}) is not {}",
                    self.list[index].kind,
                    ability.described()
                ),
            );
            return None;
        }
        Some(index)
    }

    pub(super) fn declared(
        &self,
        name: &str,
        ability: Ability,
        at: &str,
        report: &mut Report<'_>,
    ) -> Option<usize> {
        match self.find(name) {
            Some(index) if self.list[index].settings.is(ability) => Some(index),
            Some(index) => {
                report.error(
                    at,
                    format!(
                        "plugin {name:?} ({}) is not {}",
                        self.list[index].kind,
                        ability.described()
                    ),
                );
                None
            }
            None => {
                if !self.incomplete {
                    report.error(at, format!("references undefined plugin {name:?}"));
                }
                None
            }
        }
    }

    pub(super) fn check_deciders(&self, report: &mut Report<'_>) {
        for (plugin, pointer) in self.list.iter().zip(&self.pointers) {
            if let Settings::DisaggHandler(handler) = &plugin.settings {
                let at = format!("{pointer}/parameters");
                let deciders = [&handler.prefill_decider, &handler.encode_decider];
                for decider in deciders.into_iter().flatten() {
                    self.declared(decider, Ability::Decider, &at, report);
                }
            }
        }
    }

    /// Adds the producers of what is needed and not made.
    pub(super) fn produce_keys(&mut self, report: &mut Report<'_>) {
        let mut next = 0;
        // Those that are added may need others; the list ends since each type is added once.
        while next < self.list.len() {
            let needs: Vec<(types::Key, String)> = self.list[next]
                .settings
                .needs()
                .into_iter()
                .map(|(key, name)| (key, name.to_owned()))
                .collect();
            for (key, name) in needs {
                let made = |plugin: &Plugin| plugin.settings.makes() == Some(key);
                // One instance of these serves everyone, whatever its name.
                let any = matches!(key, types::Key::Tokens | types::Key::CoreMetrics);
                if self
                    .list
                    .iter()
                    .any(|plugin| made(plugin) && (any || plugin.name == name))
                {
                    continue;
                }
                if self.find(&name).is_none()
                    && key.default_producer() == Some(name.as_str())
                    && self.ensure(&name).is_some()
                {
                    continue;
                }
                let consumer = &self.list[next].name;
                report.error(
                    &self.pointers[next],
                    format!(
                        "{consumer:?} needs {} of {name:?}, and no such producer is declared",
                        key.described()
                    ),
                );
            }
            next += 1;
        }
    }

    pub(super) fn check_loads(&self, report: &mut Report<'_>) {
        let loads = self
            .list
            .iter()
            .filter(|plugin| matches!(plugin.settings, Settings::InFlightProducer(_)));
        if loads.count() > crate::inflight::MAX_LOAD_PRODUCERS {
            report.error(
                "/plugins",
                format!(
                    "there are more than {} inflight-load-producer plugins",
                    crate::inflight::MAX_LOAD_PRODUCERS
                ),
            );
        }
    }
}

impl Policies for Plugins {
    fn fairness(&mut self, name: &str, at: &str, report: &mut Report<'_>) -> FairnessPolicy {
        let index = self.reference(name, Ability::Fairness, at, report);
        match index.map(|index| &self.list[index].settings) {
            Some(Settings::RoundRobinFairness) => FairnessPolicy::RoundRobin,
            _ => FairnessPolicy::GlobalStrict,
        }
    }

    fn ordering(&mut self, name: &str, at: &str, report: &mut Report<'_>) -> OrderingPolicy {
        let index = self.reference(name, Ability::Ordering, at, report);
        match index.map(|index| &self.list[index].settings) {
            Some(Settings::EdfOrdering) => OrderingPolicy::EarliestDeadline,
            Some(Settings::SloDeadlineOrdering) => OrderingPolicy::SloDeadline,
            _ => OrderingPolicy::Fcfs,
        }
    }

    fn ceiling(&mut self, name: Option<&str>, at: &str, report: &mut Report<'_>) -> f64 {
        let name = name.unwrap_or("static-usage-limit-policy");
        let index = self.reference(name, Ability::UsageLimit, at, report);
        match index.map(|index| &self.list[index].settings) {
            Some(Settings::StaticLimit { threshold }) => *threshold,
            _ => 1.0,
        }
    }
}
