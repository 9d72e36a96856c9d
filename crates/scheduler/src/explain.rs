//! Why a request went where it went. Filled only when asked for.

use std::sync::Arc;

use serde_json::{Value, json};

/// The story of one decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explain {
    /// Profiles in the order they ran.
    pub profiles: Vec<ProfileStory>,
    /// Why these profiles ran, in the handler's words.
    pub reasons: Vec<String>,
}

/// The story of one profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProfileStory {
    /// Its name.
    pub profile: String,
    /// Ids of the candidates at the start.
    pub candidates: Vec<Arc<str>>,
    /// What each filter removed.
    pub filters: Vec<(String, Vec<Arc<str>>)>,
    /// Ids of those that were scored.
    pub scored: Vec<Arc<str>>,
    /// Name, weight and raw scores of each scorer, in the order of `scored`.
    pub scorers: Vec<(String, f64, Vec<f64>)>,
    /// Weighted sums in the order of `scored`.
    pub totals: Vec<f64>,
    /// Name of the picker.
    pub picker: String,
    /// What it took, in order.
    pub picked: Vec<Arc<str>>,
}

impl Explain {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let profiles: Vec<Value> = self.profiles.iter().map(ProfileStory::to_json).collect();
        json!({"profiles": profiles, "reasons": self.reasons})
    }
}

impl ProfileStory {
    fn to_json(&self) -> Value {
        let ids = |ids: &[Arc<str>]| ids.iter().map(|id| Value::from(&**id)).collect::<Vec<_>>();
        let filters: Vec<Value> = self
            .filters
            .iter()
            .map(|(name, removed)| json!({"filter": name, "removed": ids(removed)}))
            .collect();
        let scores: Vec<Value> = self
            .scored
            .iter()
            .enumerate()
            .map(|(index, id)| {
                let parts: Vec<Value> = self
                    .scorers
                    .iter()
                    .map(|(name, weight, scores)| {
                        let raw = scores.get(index).copied().unwrap_or(0.0);
                        let weighted = raw.clamp(0.0, 1.0) * weight;
                        json!({"scorer": name, "raw": raw, "weight": weight, "weighted": weighted})
                    })
                    .collect();
                let total = self.totals.get(index);
                json!({"endpoint": &**id, "scores": parts, "total": total})
            })
            .collect();
        json!({
            "profile": self.profile,
            "candidates": ids(&self.candidates),
            "filters": filters,
            "scores": scores,
            "picker": self.picker,
            "picked": ids(&self.picked),
            "reason": self.reason(),
        })
    }

    /// Why the first one was taken.
    #[must_use]
    pub fn reason(&self) -> String {
        let Some(first) = self.picked.first() else {
            return "no endpoint passed the filters".to_owned();
        };
        if self.scored.len() == 1 {
            return "the only one that passed the filters".to_owned();
        }
        let place = self.scored.iter().position(|id| id == first);
        let Some(own) = place.and_then(|place| self.totals.get(place)) else {
            return "it was scored".to_owned();
        };
        let best = self
            .totals
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        let equals = self.totals.iter().filter(|total| *total >= own).count();
        if *own < best {
            return format!("drawn with a total of {own:.4}; the highest is {best:.4}");
        }
        if equals > 1 {
            return format!("drawn among {equals} with a total of {own:.4}");
        }
        let others = self.totals.iter().filter(|total| *total < own);
        let next = others.copied().fold(f64::NEG_INFINITY, f64::max);
        format!("the highest total, {own:.4}; the next is {next:.4}")
    }
}
