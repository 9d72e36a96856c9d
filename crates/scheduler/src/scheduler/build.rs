//! From configuration to scheduler: names become indices, settings become filters and scorers.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::Scheduler;
use crate::admit::Admitter;
use crate::config::settings::{Session, SessionIdFrom, Settings};
use crate::config::{Config, Plugin};
use crate::filter::{Affinity, Concurrency, Conditions, Filter, LabelMask, Ranges, Utilization};
use crate::handler::{Decider, Handler, Stages};
use crate::inflight::LoadProducer;
use crate::pick::{Picker, Way};
use crate::prefix::{MEGABYTES_PER_ITEM, MediaCache, Producer, Source};
use crate::profile::{Named, Profile};
use crate::saturation::Detector;
use crate::score::{Latency, NoHit, Scorer};
use crate::session::{self, Bindings};

/// Producer that conditional requests look at.
const DEFAULT_PREFIX: &str = "approx-prefix-cache-producer";

/// Which header tells of a pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Prefill,
    Encode,
}

/// Whether a profile looks at the number of tokens.
pub(super) fn counts_tokens(profile: &Profile) -> bool {
    profile
        .filters
        .iter()
        .any(|(_, filter)| matches!(filter, Filter::ContextLength(_)))
        || profile
            .scorers
            .iter()
            .any(|(_, _, scorer)| matches!(scorer, Scorer::ContextLength(_)))
}

/// What several plugins share.
struct Parts<'c> {
    config: &'c Config,
    prefixes: Vec<Producer>,
    loads: Vec<(String, LoadProducer)>,
    media: Vec<MediaCache>,
    no_hits: HashMap<usize, NoHit>,
    sessions: HashMap<usize, session::Affinity>,
}

impl Scheduler {
    /// A scheduler that has seen no request.
    #[must_use]
    pub fn new(config: Arc<Config>) -> Self {
        let mut parts = Parts::new(&config);
        let profiles: Vec<Profile> = config
            .profiles
            .iter()
            .map(|profile| Profile {
                name: profile.name.clone(),
                filters: profile
                    .filters
                    .iter()
                    .filter_map(|index| parts.named(*index, Parts::filter))
                    .collect(),
                scorers: profile
                    .scorers
                    .iter()
                    .filter_map(|(index, weight)| {
                        let (name, scorer) = parts.named(*index, Parts::scorer)?;
                        Some((name, *weight, scorer))
                    })
                    .collect(),
                picker: parts.picker(profile.picker),
            })
            .collect();
        // Plugins outside of profiles still see every request that is sent.
        for index in 0..config.plugins.len() {
            parts.session(index);
            parts.no_hit(index);
        }
        let find = |name: &str| {
            config
                .profiles
                .iter()
                .position(|profile| profile.name == name)
        };
        let handler = parts.handler(&find);
        let mut told = Vec::new();
        let mut prefill = find("prefill");
        if let Handler::Disagg(stages) = &handler {
            prefill = stages.prefill;
            if stages.settings.writes_headers {
                told.extend(stages.prefill.map(|profile| (profile, Told::Prefill)));
                told.extend(stages.encode.map(|profile| (profile, Told::Encode)));
            }
        }
        for plugin in &config.plugins {
            if let Settings::DisaggHeaders { prefill, encode } = &plugin.settings {
                told.extend(find(prefill).map(|profile| (profile, Told::Prefill)));
                told.extend(find(encode).map(|profile| (profile, Told::Encode)));
            }
        }
        let detector = parts.detector();
        let admitters = (0..)
            .zip(&config.plugins)
            .filter_map(|(index, plugin)| Some((index, Admitter::of(&plugin.settings)?)))
            .collect();
        let default_prefix = parts.prefix(DEFAULT_PREFIX);
        Self {
            profiles,
            handler,
            default_prefix,
            detector,
            admitters,
            told,
            prefill,
            loads: parts.loads.into_iter().map(|(_, load)| load).collect(),
            media: parts.media,
            no_hits: parts.no_hits.into_iter().collect(),
            sessions: parts.sessions.into_iter().collect(),
            prefixes: parts.prefixes,
            pool: Arc::default(),
            config,
        }
    }
}

impl<'c> Parts<'c> {
    fn new(config: &'c Config) -> Self {
        let mut parts = Self {
            config,
            prefixes: Vec::new(),
            loads: Vec::new(),
            media: Vec::new(),
            no_hits: HashMap::new(),
            sessions: HashMap::new(),
        };
        for (index, plugin) in config.plugins.iter().enumerate() {
            match &plugin.settings {
                Settings::ApproxPrefixProducer(settings) => {
                    parts
                        .prefixes
                        .push(Producer::approx(index, plugin, settings.clone()))
                }
                Settings::PrecisePrefixProducer(_) | Settings::PrecisePrefixScorer(_) => {
                    parts.prefixes.push(Producer {
                        plugin: index,
                        name: plugin.name.clone(),
                        kind: plugin.kind.clone(),
                        source: Source::Events,
                    });
                }
                Settings::MediaCacheProducer { megabytes } => parts.media.push(MediaCache {
                    plugin: index,
                    name: plugin.name.clone(),
                    capacity: usize::try_from(megabytes / MEGABYTES_PER_ITEM)
                        .unwrap_or(usize::MAX)
                        .max(1),
                    index: RwLock::default(),
                }),
                _ => {}
            }
        }
        for (plugin_index, plugin) in config.plugins.iter().enumerate() {
            if let Settings::InFlightProducer(settings) = &plugin.settings {
                let load = LoadProducer {
                    plugin: plugin_index,
                    index: parts.loads.len(),
                    prefix: parts.prefix(&settings.prefix),
                    settings: settings.clone(),
                };
                parts.loads.push((plugin.name.clone(), load));
            }
        }
        parts
    }

    fn prefix(&self, name: &str) -> Option<usize> {
        self.prefixes
            .iter()
            .position(|producer| producer.name == name)
    }

    fn load(&self, name: &str) -> Option<&LoadProducer> {
        let found = self.loads.iter().find(|(known, _)| known == name);
        found.map(|(_, load)| load)
    }

    fn load_index(&self, name: &str) -> usize {
        self.load(name).map_or(0, |load| load.index)
    }

    fn settings(&self, index: usize) -> &'c Settings {
        &self.config.plugins[index].settings
    }

    fn named<T>(
        &mut self,
        index: usize,
        make: impl FnOnce(&mut Self, usize) -> Option<T>,
    ) -> Option<(Named, T)> {
        let made = make(self, index)?;
        Some((self.name(index), made))
    }

    fn name(&self, plugin: usize) -> Named {
        Named {
            plugin,
            name: self.config.plugins[plugin].name.clone(),
        }
    }

    fn filter(&mut self, index: usize) -> Option<Filter> {
        Some(match self.settings(index) {
            Settings::RoleFilter(work) => Filter::Role(*work),
            Settings::LabelSelectorFilter(selector) => {
                Filter::Label(LabelMask::by_selector(selector.clone()))
            }
            Settings::LabelFilter(filter) => Filter::Label(LabelMask::by_values(filter.clone())),
            Settings::PrefixAffinityFilter(settings) => Filter::PrefixAffinity(Affinity {
                settings: settings.clone(),
                prefix: self.prefix(&settings.prefix)?,
                load: self.load_index(&settings.load),
            }),
            Settings::SloHeadroomFilter(settings) => Filter::SloHeadroom {
                epsilon: settings.epsilon,
            },
            // As a scorer only, unless it is told to filter.
            Settings::ContextLength(settings) if settings.filters => {
                Filter::ContextLength(Ranges::new(settings.label.clone()))
            }
            Settings::SessionFilter(_) => Filter::Session(self.session(index)?),
            Settings::UtilizationFilter(settings) => Filter::Utilization(Conditions {
                conditions: settings.conditions.clone(),
                fallback: settings.fallback,
            }),
            Settings::HeaderTestFilter => Filter::HeaderTest,
            Settings::UtilizationDetector(settings) => {
                Filter::UtilizationDetector(Utilization(settings.clone()))
            }
            Settings::ConcurrencyDetector(settings) => Filter::ConcurrencyDetector(Concurrency {
                settings: settings.clone(),
                producer: self.load_index(&settings.load),
            }),
            _ => return None,
        })
    }

    fn scorer(&mut self, index: usize) -> Option<Scorer> {
        Some(match self.settings(index) {
            Settings::QueueScorer => Scorer::Queue,
            Settings::KvUsageScorer => Scorer::KvUsage,
            Settings::RunningRequestsScorer => Scorer::RunningRequests,
            Settings::LoadAwareScorer { threshold } => Scorer::LoadAware {
                #[expect(clippy::cast_precision_loss, reason = "a small number")]
                threshold: *threshold as f64,
            },
            Settings::PrefixScorer(settings) => Scorer::Prefix {
                settings: settings.clone(),
                prefix: self.prefix(&settings.producer)?,
            },
            Settings::PrecisePrefixScorer(_) => Scorer::Prefix {
                settings: crate::config::settings::PrefixScorer {
                    producer: String::new(),
                    length_weight: 0.0,
                    length_scale: 1.0,
                },
                prefix: self.events(index)?,
            },
            Settings::LoraScorer => Scorer::Lora,
            Settings::ActiveRequestScorer(settings) => Scorer::ActiveRequest(settings.clone()),
            Settings::NoHitLruScorer(_) => Scorer::NoHit(self.no_hit(index)?),
            Settings::TokenLoadScorer(settings) => Scorer::TokenLoad {
                threshold: settings.threshold,
                load: self.load(&settings.load)?.clone(),
            },
            Settings::LatencyScorer(settings) => Scorer::Latency(Latency {
                prefix: self.prefix(&settings.prefix_producer)?,
                settings: settings.clone(),
            }),
            Settings::MediaCacheScorer { producer } => Scorer::Media {
                producer: self
                    .media
                    .iter()
                    .position(|cache| cache.name == *producer)?,
            },
            Settings::SessionScorer(_) => Scorer::Session(self.session(index)?),
            Settings::ContextLength(settings) => {
                Scorer::ContextLength(Ranges::new(settings.label.clone()))
            }
            _ => return None,
        })
    }

    /// The producer of a precise scorer: one that is declared, else the scorer itself.
    fn events(&self, index: usize) -> Option<usize> {
        let declared = self
            .config
            .plugins
            .iter()
            .find(|plugin| matches!(plugin.settings, Settings::PrecisePrefixProducer(_)));
        self.prefix(&declared.unwrap_or(&self.config.plugins[index]).name)
    }

    fn no_hit(&mut self, index: usize) -> Option<NoHit> {
        let Settings::NoHitLruScorer(settings) = self.settings(index) else {
            return None;
        };
        let prefix = self.prefix(&settings.producer)?;
        let made = self
            .no_hits
            .entry(index)
            .or_insert_with(|| NoHit::new(settings.size, prefix));
        Some(made.clone())
    }

    fn session(&mut self, index: usize) -> Option<session::Affinity> {
        let (Settings::SessionFilter(settings) | Settings::SessionScorer(settings)) =
            self.settings(index)
        else {
            return None;
        };
        if let Some(known) = self.sessions.get(&index) {
            return Some(known.clone());
        }
        let made = match settings {
            Session::Encoded { header } => session::Affinity::Encoded {
                header: header.clone(),
            },
            Session::ById {
                sources,
                ttl,
                sweep,
                profile,
            } => session::Affinity::Bound {
                sources: sources
                    .iter()
                    .map(|source| self.id_source(source))
                    .collect(),
                bindings: Arc::new(Bindings::new(*ttl, *sweep)),
                profile: profile.clone(),
            },
        };
        self.sessions.insert(index, made.clone());
        Some(made)
    }

    /// What a producer of session ids looks at stands for its name.
    fn id_source(&self, source: &SessionIdFrom) -> SessionIdFrom {
        if let SessionIdFrom::Attribute(name) = source
            && let Some(Plugin {
                settings: Settings::SessionIdProducer(from),
                ..
            }) = self.config.plugin(name)
        {
            return from.clone();
        }
        source.clone()
    }

    fn picker(&self, index: usize) -> (Named, Picker) {
        let (way, pick) = match self.settings(index) {
            Settings::RandomPicker(pick) => (Way::Random, *pick),
            Settings::WeightedRandomPicker(pick) => (Way::Weighted, *pick),
            Settings::MaxScorePicker(pick) => (Way::MaxScore, *pick),
            _ => (Way::MaxScore, crate::config::settings::Pick { count: 1 }),
        };
        (self.name(index), Picker { way, pick })
    }

    fn decider(&self, name: Option<&String>) -> Option<Decider> {
        Some(match &self.config.plugin(name?)?.settings {
            Settings::AlwaysDecider => Decider::Always,
            Settings::MediaDecider => Decider::Media,
            Settings::PrefixDecider(settings) => Decider::Prefix {
                settings: settings.clone(),
                prefix: self.prefix(&settings.producer)?,
            },
            _ => return None,
        })
    }

    fn handler(&self, find: &dyn Fn(&str) -> Option<usize>) -> Handler {
        match self.settings(self.config.handler) {
            Settings::DisaggHandler(settings) => Handler::Disagg(Box::new(Stages {
                plugin: self.config.handler,
                decode: find(&settings.decode),
                prefill: find(&settings.prefill),
                encode: find(&settings.encode),
                prefill_decider: self.decider(settings.prefill_decider.as_ref()),
                encode_decider: self.decider(settings.encode_decider.as_ref()),
                settings: settings.clone(),
            })),
            Settings::DataParallelHandler { primary_port } => Handler::DataParallel {
                primary_port: *primary_port,
            },
            Settings::HeaderHandler { header, default } => Handler::Header {
                header: header.clone(),
                default: default.clone(),
            },
            _ => Handler::Single,
        }
    }

    fn detector(&self) -> Detector {
        match self.settings(self.config.detector) {
            Settings::ConcurrencyDetector(settings) => Detector::Concurrency(Concurrency {
                settings: settings.clone(),
                producer: self.load_index(&settings.load),
            }),
            Settings::UtilizationDetector(settings) => {
                Detector::Utilization(Utilization(settings.clone()))
            }
            _ => Detector::Utilization(Utilization(
                crate::config::settings::UtilizationDetector::default(),
            )),
        }
    }
}
