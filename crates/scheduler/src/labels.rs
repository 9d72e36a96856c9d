//! Kubernetes label selectors.

use crate::endpoint::Labels;

/// A label selector; without requirements it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// All must hold.
    pub requirements: Vec<Requirement>,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What its value must be.
    pub operator: Operator,
    /// The values.
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// One of the values.
    In,
    /// None of the values; the label may be absent.
    NotIn,
    /// Present.
    Exists,
    /// Absent.
    DoesNotExist,
}

impl Selector {
    /// Whether `labels` meet every requirement.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            let listed =
                || value.is_some_and(|value| requirement.values.iter().any(|v| v == value));
            match requirement.operator {
                Operator::In => listed(),
                Operator::NotIn => !listed(),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_hold_as_in_kubernetes() {
        let labels = Labels::from_iter([("a", "1"), ("b", "")]);
        for (key, operator, values, matches) in [
            ("a", Operator::In, &["1", "2"][..], true),
            ("a", Operator::In, &["2"], false),
            ("c", Operator::In, &["2"], false),
            ("a", Operator::NotIn, &["1"], false),
            ("a", Operator::NotIn, &["2"], true),
            ("c", Operator::NotIn, &["2"], true),
            ("b", Operator::Exists, &[], true),
            ("c", Operator::Exists, &[], false),
            ("c", Operator::DoesNotExist, &[], true),
            ("b", Operator::DoesNotExist, &[], false),
        ] {
            let selector = Selector {
                requirements: vec![Requirement {
                    key: key.into(),
                    operator,
                    values: values.iter().map(|v| (*v).into()).collect(),
                }],
            };
            assert_eq!(
                selector.matches(&labels),
                matches,
                "{key} {operator:?} {values:?}"
            );
        }
        assert!(Selector::default().matches(&labels));
    }
}
