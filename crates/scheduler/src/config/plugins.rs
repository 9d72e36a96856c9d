//! The plugins of a document, and those that are added: found by name, checked for what they are used as.

use serde_json::{Map, Value, json};

use super::fields::{Fields, Report};
use super::flow::{FairnessPolicy, OrderingPolicy, Policies};
use super::read::OldPrefix;
use super::settings::Settings;
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

    /// Adds a plugin with parameters, as if it had been declared with them.
    fn add_with(&mut self, name: &str, kind: &str, parameters: Value) -> Option<usize> {
        let mut unheard = Report::new(None);
        let (settings, _) = types::settings(kind, Some(&parameters), "", &mut unheard)?;
        let index = self.add(name, kind, settings);
        self.list[index].parameters = Some(parameters);
        Some(index)
    }

    /// What parameters of older generations say about other plugins. They move there.
    pub(super) fn carry_over(&mut self, report: &mut Report<'_>) {
        for index in 0..self.list.len() {
            if let Some(threshold) = self.asides[index].threshold {
                self.carry_threshold(index, threshold, report);
            }
            if let Some(old) = self.asides[index].old_prefix.clone() {
                self.carry_prefix(index, &old, report);
            }
        }
    }

    fn carry_prefix(&mut self, index: usize, old: &OldPrefix, report: &mut Report<'_>) {
        self.drop_parameters(
            index,
            &[
                "autoTune",
                "blockSizeTokens",
                "blockSize",
                "hashBlockSize",
                "maxPrefixBlocksToMatch",
                "lruCapacityPerServer",
            ],
        );
        if self.find(APPROX).is_some() {
            let pointer = format!("{}/parameters", self.pointers[index]);
            report.warn(
                &pointer,
                format!("`{APPROX}` is declared; its own parameters are used"),
            );
            return;
        }
        let mut parameters = Map::new();
        let mut set = |name: &str, value: Option<u64>| {
            if let Some(value) = value {
                parameters.insert(name.to_owned(), value.into());
            }
        };
        set("blockSizeTokens", old.block_size.filter(|size| *size > 0));
        set("maxPrefixBlocksToMatch", old.max_blocks);
        // A limit in blocks would be beaten by the default one in tokens.
        set("maxPrefixTokensToMatch", old.max_blocks.map(|_| 0));
        set(
            "lruCapacityPerServer",
            old.capacity.filter(|capacity| *capacity > 0),
        );
        if let Some(auto_tune) = old.auto_tune {
            parameters.insert("autoTune".to_owned(), auto_tune.into());
        }
        self.add_with(APPROX, APPROX, Value::Object(parameters));
    }

    /// `threshold` of the older handler: 0 is always, a number of characters is a number of tokens not cached.
    fn carry_threshold(&mut self, handler: usize, threshold: u64, report: &mut Report<'_>) {
        let (kind, parameters) = if threshold == 0 {
            ("always-disagg-pd-decider", json!({}))
        } else {
            let tokens = threshold.div_ceil(4);
            (PREFIX_DECIDER, json!({"nonCachedTokens": tokens}))
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
        self.add_with(&name, kind, parameters);
        self.drop_parameters(handler, &["threshold", "hashBlockSize"]);
        let plugin = &mut self.list[handler];
        if let Some(Value::Object(parameters)) = &mut plugin.parameters {
            parameters.insert("deciderPluginName".to_owned(), name.clone().into());
        }
        if let Settings::DisaggHandler(handler) = &mut plugin.settings {
            handler.prefill_decider = Some(name);
        }
    }

    /// Takes out parameters that stand elsewhere now.
    fn drop_parameters(&mut self, index: usize, names: &[&str]) {
        if let Some(Value::Object(parameters)) = &mut self.list[index].parameters {
            parameters.retain(|name, _| !names.contains(&name.as_str()));
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
