//! The caller and what it may do: the one place where policy is decided.

use std::sync::Arc;

use oci::Repository;

use super::{Grant, ResourceKind, User, token::TokenCaller};
use crate::endpoint::Action;

/// Who a request comes from.
#[derive(Clone, Debug)]
pub struct Caller(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// No credentials: may read what is public.
    Anonymous,
    /// A user with its password: may do what its role allows.
    User(Arc<User>),
    /// A bearer token: may do what was granted when it was issued, and no more.
    Token(Arc<TokenCaller>),
}

/// Repositories from which a caller may mount a blob without naming one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Readable {
    All,
    Only(Vec<Repository>),
}

impl Caller {
    pub(crate) const ANONYMOUS: Self = Self(Kind::Anonymous);

    pub(crate) fn user(user: Arc<User>) -> Self {
        Self(Kind::User(user))
    }

    pub(crate) fn token(token: Arc<TokenCaller>) -> Self {
        Self(Kind::Token(token))
    }

    /// The user's name; empty for anonymous callers.
    pub fn name(&self) -> &str {
        self.identity().0
    }

    /// Whether nobody vouches for this caller: it has no login, or a token issued without one.
    pub fn is_anonymous(&self) -> bool {
        self.name().is_empty()
    }

    /// Whether the caller came with any credentials, even with an anonymous token.
    pub(crate) fn has_credentials(&self) -> bool {
        !matches!(self.0, Kind::Anonymous)
    }

    /// The user, when the caller came with its password.
    pub(crate) fn into_user(self) -> Option<Arc<User>> {
        match self.0 {
            Kind::User(user) => Some(user),
            Kind::Anonymous | Kind::Token(_) => None,
        }
    }

    /// Whether the caller showed a token, which is good for what it grants and
    /// for nothing besides.
    pub fn is_token(&self) -> bool {
        matches!(self.0, Kind::Token(_))
    }

    /// Whether the caller may do `action` in `repo`. Public repositories are
    /// readable beyond this.
    pub fn may(&self, repo: &Repository, action: Action) -> bool {
        match &self.0 {
            Kind::Anonymous => false,
            Kind::User(user) => user.may(repo, action),
            Kind::Token(token) => token.grants.iter().any(|grant| grant.allows(repo, action)),
        }
    }

    /// Whether the caller may list all repositories.
    pub(crate) fn may_list(&self) -> bool {
        match &self.0 {
            Kind::Anonymous => false,
            Kind::User(user) => user.is_admin,
            Kind::Token(token) => token
                .grants
                .iter()
                .any(|grant| grant.kind == ResourceKind::Registry && grant.name == "catalog"),
        }
    }

    pub(crate) fn readable(&self) -> Readable {
        match &self.0 {
            Kind::Anonymous => Readable::Only(Vec::new()),
            Kind::User(user) if user.is_admin => Readable::All,
            Kind::User(_) => Readable::Only(Vec::new()),
            Kind::Token(token) => {
                let pulls = || token.grants.iter().filter(|g| g.has(Action::Pull));
                match pulls().any(|grant| grant.is_wildcard()) {
                    true => Readable::All,
                    false => Readable::Only(
                        pulls()
                            .filter_map(|grant| Repository::parse(&grant.name).ok())
                            .collect(),
                    ),
                }
            }
        }
    }

    /// What this caller may pull, as grants for a token that acts for it.
    pub(super) fn pull_grants(&self) -> Vec<Grant> {
        match &self.0 {
            Kind::Anonymous => Vec::new(),
            Kind::User(user) if user.is_admin => vec![Grant::all_repositories(Action::Pull)],
            Kind::User(_) => Vec::new(),
            Kind::Token(token) => token
                .grants
                .iter()
                .filter(|grant| grant.has(Action::Pull))
                .map(|grant| Grant {
                    actions: vec!["pull".to_owned()],
                    ..grant.clone()
                })
                .collect(),
        }
    }

    pub(super) fn identity(&self) -> (&str, Option<i64>) {
        match &self.0 {
            Kind::Anonymous => ("", None),
            Kind::User(user) => (&user.name, Some(user.id)),
            Kind::Token(token) => (&token.subject, token.user_id),
        }
    }
}
