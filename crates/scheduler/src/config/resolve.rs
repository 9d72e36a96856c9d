//! References between plugins, and everything that is added because nobody said otherwise.

use serde_json::json;

use super::fields::{Fields, Report};
use super::flow;
use super::plugins::Plugins;
use super::read;
use super::settings::{FileDiscovery, HttpSource, Parser, Settings};
use super::types::{Ability, CORE_METRICS, METRICS_SOURCE};
use super::{Config, Options, Plugin, Profile, Scrape, Source, precise_read};
use crate::data::engine::{MetricSpec, VLLM};

/// The readers of requests without configuration.
const PARSERS: [&str; 4] = [
    "openai-parser",
    "anthropic-parser",
    "vllmhttp-parser",
    "passthrough-parser",
];

/// Name of the detector without configuration.
pub(super) const DETECTOR: &str = "utilization-detector";

struct Gates {
    flow_control: bool,
    warm_followers: bool,
}

pub(super) fn resolve(
    fields: &mut Fields<'_>,
    options: &Options,
    report: &mut Report<'_>,
) -> Option<Config> {
    let gates = gates(fields, report);
    let mut plugins = Plugins::read(fields, options, report);
    plugins.carry_over(report);
    let drafts = profile_drafts(fields, &plugins, report);
    let handler = handler(&mut plugins, drafts.len(), report);
    let profiles: Vec<Profile> = drafts
        .into_iter()
        .map(|draft| draft.complete(&mut plugins))
        .collect();
    for policy in [
        "fcfs-ordering-policy",
        "global-strict-fairness-policy",
        "static-usage-limit-policy",
    ] {
        plugins.ensure(policy);
    }
    let parsers = parsers(fields, &mut plugins, report);
    let mut section = fields.mapping("flowControl", report);
    let detector = detector(fields, &mut section, &mut plugins, report);
    let flow = flow::read(&mut section, gates.flow_control, &mut plugins, report);
    section.finish(report);
    let (sources, discovery) = data_layer(fields, &mut plugins, &options.scrape, report);
    plugins.check_deciders(report);
    plugins.produce_keys(report);
    plugins.check_loads(report);
    if sources.is_empty()
        && !plugins
            .list
            .iter()
            .any(|plugin| matches!(plugin.settings, Settings::InFlightProducer(_)))
    {
        report.error(
            "/dataLayer",
            "there is no data source: bind one in `sources` or leave `injectDefaults` on",
        );
    }
    let mut notices = notices(&plugins.list);
    if flow.eviction {
        notices.push("flowControl.enableEviction has no effect in this build: running requests are not stopped".to_owned());
    }
    Some(Config {
        plugins: plugins.list,
        profiles,
        handler: handler?,
        detector: detector?,
        flow,
        parsers,
        sources,
        discovery,
        warm_followers: gates.warm_followers,
        warnings: Vec::new(),
        notices,
    })
}

fn gates(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Gates {
    let mut gates = Gates {
        flow_control: false,
        warm_followers: true,
    };
    for (item, pointer) in fields.list("featureGates", report) {
        let Some(text) = item.as_str() else {
            report.error(&pointer, "must be a string such as flowControl");
            continue;
        };
        let (name, value) = text.split_once('=').unwrap_or((text, "true"));
        // The truth values of Go.
        let value = match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            other => {
                report.error(
                    &pointer,
                    format!("{other:?} is not a valid value for the feature gate {name}"),
                );
                continue;
            }
        };
        match name {
            "flowControl" => gates.flow_control = value,
            "haPopulateNonLeaderDatastore" => gates.warm_followers = value,
            other => report.error(
                &pointer,
                format!(
                    "feature gate {other:?} is unknown; known are flowControl and haPopulateNonLeaderDatastore"
                ),
            ),
        }
    }
    gates
}

/// A profile before its picker is known.
struct Draft {
    name: String,
    filters: Vec<usize>,
    scorers: Vec<(usize, f64)>,
    picker: Option<usize>,
}

impl Draft {
    fn take(&mut self, index: usize, plugins: &Plugins, weight: f64) -> Result<(), String> {
        let settings = &plugins.list[index].settings;
        if settings.is(Ability::Filter) {
            self.filters.push(index);
        }
        if settings.is(Ability::Scorer) {
            self.scorers.push((index, weight));
        }
        if settings.is(Ability::Picker) {
            if let Some(first) = self.picker {
                return Err(format!(
                    "the profile has two pickers, {:?} and {:?}; keep one",
                    plugins.list[first].name, plugins.list[index].name
                ));
            }
            self.picker = Some(index);
        }
        Ok(())
    }

    fn complete(self, plugins: &mut Plugins) -> Profile {
        let picker = self
            .picker
            .or_else(|| {
                plugins
                    .list
                    .iter()
                    .position(|plugin| plugin.settings.is(Ability::Picker))
            })
            .or_else(|| plugins.ensure("max-score-picker"))
            .unwrap_or(0);
        Profile {
            name: self.name,
            filters: self.filters,
            scorers: self.scorers,
            picker,
        }
    }
}

fn profile_drafts(
    fields: &mut Fields<'_>,
    plugins: &Plugins,
    report: &mut Report<'_>,
) -> Vec<Draft> {
    let empty = |name: &str| Draft {
        name: name.to_owned(),
        filters: Vec::new(),
        scorers: Vec::new(),
        picker: None,
    };
    let mut drafts: Vec<Draft> = Vec::new();
    for (item, pointer) in fields.list("schedulingProfiles", report) {
        let mut item = Fields::new(Some(item), pointer.clone(), report);
        let name = item.string("name", report).unwrap_or("");
        if name.is_empty() {
            report.error(&pointer, "the profile is missing a name");
        } else if drafts.iter().any(|draft| draft.name == name) {
            report.error(&pointer, format!("duplicate profile name {name:?}"));
        }
        let mut draft = empty(name);
        for (item, pointer) in item.list("plugins", report) {
            let mut item = Fields::new(Some(item), pointer.clone(), report);
            let reference = item.string("pluginRef", report).unwrap_or("");
            let weight = item.float("weight", report).unwrap_or(1.0);
            item.finish(report);
            match plugins.find(reference) {
                Some(index) => {
                    if let Err(message) = draft.take(index, plugins, weight) {
                        report.error(&pointer, message);
                    }
                }
                None if plugins.incomplete => {}
                None => report.error(
                    &format!("{pointer}/pluginRef"),
                    format!("references undefined plugin {reference:?}"),
                ),
            }
        }
        item.finish(report);
        drafts.push(draft);
    }
    if drafts.is_empty() {
        let mut draft = empty("default");
        for (index, plugin) in plugins.list.iter().enumerate() {
            if plugin.injected {
                continue;
            }
            if let Err(message) = draft.take(index, plugins, 1.0) {
                report.error(&plugins.pointers[index], message);
            }
        }
        drafts.push(draft);
    }
    drafts
}

fn handler(plugins: &mut Plugins, profiles: usize, report: &mut Report<'_>) -> Option<usize> {
    let found: Vec<usize> = (0..plugins.list.len())
        .filter(|index| plugins.list[*index].settings.is(Ability::Handler))
        .collect();
    let handler = match found.as_slice() {
        [] if profiles == 1 => plugins.ensure("single-profile-handler"),
        [] => {
            if !plugins.incomplete {
                report.error(
                    "/schedulingProfiles",
                    format!("there are {profiles} profiles and no profile handler; declare one"),
                );
            }
            None
        }
        [only] => Some(*only),
        [first, second, ..] => {
            report.error(
                &plugins.pointers[*second],
                format!(
                    "there are several profile handlers, {:?} and {:?}; only one is allowed",
                    plugins.list[*first].name, plugins.list[*second].name
                ),
            );
            Some(*first)
        }
    };
    if let Some(index) = handler {
        let single = matches!(
            plugins.list[index].settings,
            Settings::SingleHandler | Settings::DataParallelHandler { .. }
        );
        if single && profiles > 1 {
            report.error(
                "/schedulingProfiles",
                format!(
                    "`{}` runs one profile, and there are {profiles}",
                    plugins.list[index].kind
                ),
            );
        }
    }
    handler
}

fn parsers(fields: &mut Fields<'_>, plugins: &mut Plugins, report: &mut Report<'_>) -> Vec<Parser> {
    let mut section = fields.mapping("requestHandler", report);
    let mut named: Vec<(String, String)> = Vec::new();
    for (item, pointer) in section.list("parsers", report) {
        let mut item = Fields::new(Some(item), pointer, report);
        let reference = item.string("pluginRef", report).unwrap_or("");
        named.push((reference.to_owned(), item.at("pluginRef")));
        item.finish(report);
    }
    section.finish(report);
    // The predecessor of that section.
    let mut old = fields.mapping("parser", report);
    if let Some(reference) = old.string("pluginRef", report) {
        report.warn("/parser", "is deprecated; use requestHandler.parsers");
        if named.is_empty() {
            named.push((reference.to_owned(), old.at("pluginRef")));
        }
    }
    old.finish(report);
    if named.is_empty() {
        named = PARSERS
            .iter()
            .map(|name| ((*name).to_owned(), "/requestHandler".to_owned()))
            .collect();
    }
    let mut parsers = Vec::new();
    for (name, at) in named {
        let index = plugins.reference(&name, Ability::Parser, &at, report);
        if let Some(Settings::Parser(parser)) = index.map(|index| &plugins.list[index].settings)
            && !parsers.contains(parser)
        {
            parsers.push(*parser);
        }
    }
    parsers
}

fn detector(
    fields: &mut Fields<'_>,
    section: &mut Fields<'_>,
    plugins: &mut Plugins,
    report: &mut Report<'_>,
) -> Option<usize> {
    let mut new = section.mapping("saturationDetector", report);
    let inline_value = fields.take("saturationDetector").cloned();
    let mut old = fields.mapping("saturationDetector", report);
    let given = new
        .string("pluginRef", report)
        .map(|name| (name, new.at("pluginRef")));
    new.finish(report);
    let old_given = old
        .string("pluginRef", report)
        .map(|name| (name, old.at("pluginRef")));
    let inline = [
        "queueDepthThreshold",
        "kvCacheUtilThreshold",
        "metricsStalenessThreshold",
    ]
    .into_iter()
    .any(|field| old.has(field));
    if old_given.is_some() || inline {
        report.warn(
            "/saturationDetector",
            "is deprecated; use flowControl.saturationDetector with a plugin",
        );
    }
    if inline {
        // Thresholds of the first generations stood right here.
        let settings = Settings::UtilizationDetector(read::utilization_detector(&mut old, report));
        old.finish(report);
        if given.is_none() && old_given.is_none() && plugins.find(DETECTOR).is_none() {
            let index = plugins.add(DETECTOR, DETECTOR, settings);
            let plugin = &mut plugins.list[index];
            // The document says it, only not in the place of today.
            plugin.injected = false;
            plugin.parameters = inline_value;
            return Some(index);
        }
    } else {
        old.finish(report);
    }
    match given.or(old_given).filter(|(name, _)| !name.is_empty()) {
        None => plugins.ensure(DETECTOR),
        Some((name, at)) => plugins.reference(name, Ability::Detector, &at, report),
    }
}

fn data_layer(
    fields: &mut Fields<'_>,
    plugins: &mut Plugins,
    scrape: &Scrape,
    report: &mut Report<'_>,
) -> (Vec<Source>, Option<FileDiscovery>) {
    let mut layer = fields.mapping("dataLayer", report);
    let inject = layer.bool("injectDefaults", report).unwrap_or(true);
    let mut sources = Vec::new();
    for (item, pointer) in layer.list("sources", report) {
        let mut item = Fields::new(Some(item), pointer, report);
        let name = item.string("pluginRef", report).unwrap_or("");
        let plugin = plugins.declared(name, Ability::Source, &item.at("pluginRef"), report);
        let mut extractors = Vec::new();
        for (item, pointer) in item.list("extractors", report) {
            let mut item = Fields::new(Some(item), pointer, report);
            let name = item.string("pluginRef", report).unwrap_or("");
            let at = item.at("pluginRef");
            extractors.extend(plugins.declared(name, Ability::Extractor, &at, report));
            item.finish(report);
        }
        item.finish(report);
        sources.extend(plugin.map(|plugin| Source { plugin, extractors }));
    }
    let mut discovery = layer.mapping("discovery", report);
    let file = discovery
        .string("pluginRef", report)
        .filter(|name| !name.is_empty())
        .and_then(|name| {
            plugins.declared(name, Ability::Discovery, &discovery.at("pluginRef"), report)
        })
        .and_then(|index| match &plugins.list[index].settings {
            Settings::FileDiscovery(file) => Some(file.clone()),
            _ => None,
        });
    discovery.finish(report);
    for field in [
        "peerDiscovery",
        "crossReplicaSyncerPluginRef",
        "crossReplicaSyncInterval",
    ] {
        layer.ignore(field, "replicas share no state", report);
    }
    layer.finish(report);
    let bound = sources.iter().any(|source| {
        matches!(
            plugins.list[source.plugin].settings,
            Settings::MetricsSource(_)
        )
    });
    if inject && !bound {
        let source = plugins.ensure(METRICS_SOURCE);
        let renamed = plugins.list.iter().position(|plugin| {
            plugin.kind != CORE_METRICS && matches!(plugin.settings, Settings::CoreMetrics(_))
        });
        let extractor = plugins
            .find(CORE_METRICS)
            .or(renamed)
            .or_else(|| plugins.ensure(CORE_METRICS));
        if let Some((plugin, extractor)) = source.zip(extractor) {
            override_scrape(&mut plugins.list, plugin, extractor, scrape);
            sources.push(Source {
                plugin,
                extractors: vec![extractor],
            });
        }
    }
    (sources, file)
}

/// Flags of older generations change the default source and vLLM's metrics.
fn override_scrape(plugins: &mut [Plugin], source: usize, extractor: usize, scrape: &Scrape) {
    if scrape == &Scrape::default() {
        return;
    }
    let plugin = &mut plugins[source];
    if let Settings::MetricsSource(source) = &mut plugin.settings {
        *source = HttpSource {
            https: scrape.https.unwrap_or(source.https),
            path: scrape.path.clone().unwrap_or_else(|| source.path.clone()),
            port: scrape.port.or(source.port).filter(|port| *port != 0),
            insecure: scrape.insecure.unwrap_or(source.insecure),
            ..source.clone()
        };
        let scheme = if source.https { "https" } else { "http" };
        let given = plugin.parameters.get_or_insert_with(|| json!({}));
        for (name, value) in [
            ("scheme", json!(scheme)),
            ("path", json!(source.path)),
            ("port", json!(source.port.unwrap_or(0))),
            ("insecureSkipVerify", json!(source.insecure)),
        ] {
            given[name] = value;
        }
    }
    let Settings::CoreMetrics(metrics) = &mut plugins[extractor].settings else {
        return;
    };
    let Some(engine) = metrics.engines.iter_mut().find(|e| e.name == VLLM) else {
        return;
    };
    let [waiting, running, kv, lora, cache] = &scrape.names;
    let spec = |name: &Option<String>| name.as_deref().and_then(|n| MetricSpec::parse(n).ok());
    engine.waiting = spec(waiting).or_else(|| engine.waiting.take());
    engine.running = spec(running).or_else(|| engine.running.take());
    engine.lora = spec(lora).or_else(|| engine.lora.take());
    if let Some(spec) = spec(kv) {
        engine.kv_usage = vec![spec];
    }
    if let (Some(spec), Some(info)) = (spec(cache), &mut engine.cache_info) {
        info.spec = spec;
    }
}

fn notices(plugins: &[Plugin]) -> Vec<String> {
    let mut notices = Vec::new();
    for plugin in plugins {
        match &plugin.settings {
            Settings::PrecisePrefixProducer(_) | Settings::PrecisePrefixScorer(_) => {
                notices.push(precise_read::not_bound(&plugin.name));
            }
            Settings::PredictedLatencyProducer => notices.push(format!(
                "`{}` asks no predictor in this build: what reads it works without predictions",
                plugin.name
            )),
            Settings::TokenProducer(super::settings::TokenProducer::Render { .. }) => {
                notices.push(format!(
                    "`{}` asks no server for tokens in this build: they are estimated",
                    plugin.name
                ));
            }
            _ => {}
        }
    }
    notices
}
