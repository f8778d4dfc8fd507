//! Scopes that clients ask for and grants that tokens carry.
//!
//! Source: distribution token specification, "Token Scope Documentation":
//! `type[(class)]:name:action[,action]*`; a name may hold a colon (a port).

use oci::Repository;
use serde::{Deserialize, Serialize};

use super::User;
use crate::endpoint::Action;

/// Scopes looked at in one request; clients send two at most.
pub(crate) const SCOPES_MAX: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ResourceKind {
    Repository,
    Registry,
}

/// One entry of a token's `access` claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    #[serde(rename = "type")]
    pub(crate) kind: ResourceKind,
    /// A repository, or `*` for all in tokens that the registry makes for jobs.
    pub(crate) name: String,
    pub(crate) actions: Vec<String>,
}

impl Grant {
    pub(crate) fn repository(repo: &Repository, actions: Vec<Action>) -> Self {
        Self {
            kind: ResourceKind::Repository,
            name: repo.to_string(),
            actions: actions.iter().map(|a| a.as_str().to_owned()).collect(),
        }
    }

    pub(crate) fn all_repositories(action: Action) -> Self {
        Self {
            kind: ResourceKind::Repository,
            name: "*".to_owned(),
            actions: vec![action.as_str().to_owned()],
        }
    }

    pub(crate) fn is_wildcard(&self) -> bool {
        self.name == "*"
    }

    pub(crate) fn has(&self, action: Action) -> bool {
        self.kind == ResourceKind::Repository && self.actions.iter().any(|a| a == action.as_str())
    }

    pub(crate) fn allows(&self, repo: &Repository, action: Action) -> bool {
        self.has(action) && (self.is_wildcard() || self.name == repo.as_str())
    }

    /// As written in the `scope` of a token answer.
    pub(crate) fn to_scope(&self) -> String {
        let kind = match self.kind {
            ResourceKind::Repository => "repository",
            ResourceKind::Registry => "registry",
        };
        format!("{kind}:{}:{}", self.name, self.actions.join(","))
    }
}

/// One scope of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Repository(Repository, Vec<Action>),
    Catalog,
}

impl Scope {
    /// Reads space-separated scopes. What is not understood asks for nothing,
    /// since a smaller grant is no error.
    pub(crate) fn parse_all<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        texts
            .into_iter()
            .flat_map(str::split_whitespace)
            .take(SCOPES_MAX)
            .filter_map(Self::parse)
            .collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let kind = kind.split_once('(').map_or(kind, |(kind, _)| kind);
        match kind {
            "repository" => {
                let mut found = Vec::new();
                for action in actions.split(',') {
                    let more: &[Action] = match action {
                        "pull" => &[Action::Pull],
                        "push" => &[Action::Push],
                        "delete" => &[Action::Delete],
                        "*" => &[Action::Pull, Action::Push, Action::Delete],
                        _ => &[],
                    };
                    found.extend(
                        more.iter()
                            .filter(|a| !found.contains(*a))
                            .copied()
                            .collect::<Vec<_>>(),
                    );
                }
                Some(Self::Repository(Repository::parse(name).ok()?, found))
            }
            "registry" if name == "catalog" => Some(Self::Catalog),
            _ => None,
        }
    }

    /// What of this scope a user gets; anonymous callers get what is public.
    pub(crate) fn grant(&self, user: Option<&User>, is_public: bool) -> Option<Grant> {
        match self {
            Self::Catalog => user.filter(|user| user.is_admin).map(|_| Grant {
                kind: ResourceKind::Registry,
                name: "catalog".to_owned(),
                actions: vec!["*".to_owned()],
            }),
            Self::Repository(repo, actions) => {
                let granted: Vec<Action> = actions
                    .iter()
                    .filter(|action| {
                        user.is_some_and(|user| user.may(repo, **action))
                            || (is_public && **action == Action::Pull)
                    })
                    .copied()
                    .collect();
                (!granted.is_empty()).then(|| Grant::repository(repo, granted))
            }
        }
    }
}

#[cfg(test)]
#[path = "scope/tests.rs"]
mod tests;
