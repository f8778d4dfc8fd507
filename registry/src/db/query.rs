//! A statement and its answer, the same for every backend.
//!
//! The registry uses three kinds of column: 64-bit integers, text, bytes. A
//! statement is one text for all backends with `$1` placeholders, so a query is
//! written once, and what differs between backends is how a connection runs it.

use std::borrow::Cow;

use futures_util::future::BoxFuture;

use super::DbError;

/// A value bound to a placeholder or read from a column. A null keeps its kind,
/// since PostgreSQL wants to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value<'q> {
    Integer(Option<i64>),
    Text(Option<Cow<'q, str>>),
    Bytes(Option<Cow<'q, [u8]>>),
}

/// Where statements run: a reader, or the writer within its transaction.
pub(crate) trait Connection: Send {
    /// Runs the statement to its end.
    fn run<'a>(&'a mut self, query: Query<'a>) -> BoxFuture<'a, Result<Answer, DbError>>;
}

/// What a statement did.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<Row>,
    pub(crate) rows_affected: u64,
}

/// A statement with its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Query<'q> {
    pub(super) text: Cow<'static, str>,
    pub(super) arguments: Vec<Value<'q>>,
}

/// A statement whose text is fixed, or made of fixed parts and placeholders.
/// Data is bound, never written into it.
pub(crate) fn query<'q>(text: impl Into<Cow<'static, str>>) -> Query<'q> {
    Query {
        text: text.into(),
        arguments: Vec::new(),
    }
}

impl<'q> Query<'q> {
    /// Binds the next placeholder.
    pub(crate) fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.arguments.push(value.into());
        self
    }

    pub(crate) async fn fetch_all(
        self,
        connection: &mut dyn Connection,
    ) -> Result<Vec<Row>, DbError> {
        Ok(connection.run(self.shorten()).await?.rows)
    }

    /// The first row.
    pub(crate) async fn fetch_optional(
        self,
        connection: &mut dyn Connection,
    ) -> Result<Option<Row>, DbError> {
        Ok(self.fetch_all(connection).await?.into_iter().next())
    }

    /// Returns the number of rows that it inserted, changed or deleted.
    pub(crate) async fn execute(self, connection: &mut dyn Connection) -> Result<u64, DbError> {
        Ok(connection.run(self.shorten()).await?.rows_affected)
    }

    /// The same query for a shorter time.
    fn shorten<'a>(self) -> Query<'a>
    where
        'q: 'a,
    {
        self
    }
}

/// A row of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Row(pub(super) Vec<Value<'static>>);

impl Row {
    /// The column at `index`, from 0.
    ///
    /// # Errors
    /// `Unreadable` when there is no such column or it is of another kind.
    pub(crate) fn get<'r, T: FromValue<'r>>(&'r self, index: usize) -> Result<T, DbError> {
        self.0
            .get(index)
            .and_then(T::from_value)
            .ok_or(DbError::Unreadable("column"))
    }
}

/// What a column can be read as; `None` where the kinds differ.
pub(crate) trait FromValue<'r>: Sized {
    fn from_value(value: &'r Value<'static>) -> Option<Self>;
}

/// Runs a [`Query`] on a connection of sqlx: the part of each backend that is the
/// same text for other types. `$read` makes a [`Row`] of a row of the backend.
macro_rules! run_statement {
    ($connection:expr, $query:expr, $read:expr) => {{
        // The text is made of fixed parts and placeholders: see `query`.
        let mut statement = sqlx::query(sqlx::AssertSqlSafe($query.text.into_owned()));
        for argument in &$query.arguments {
            statement = match argument {
                Value::Integer(integer) => statement.bind(integer),
                Value::Text(text) => statement.bind(text.as_deref()),
                Value::Bytes(bytes) => statement.bind(bytes.as_deref()),
            };
        }
        let mut answer = Answer::default();
        let mut parts = sqlx::Executor::fetch_many($connection, statement);
        while let Some(part) = futures_util::StreamExt::next(&mut parts).await {
            match part? {
                sqlx::Either::Left(done) => answer.rows_affected += done.rows_affected(),
                sqlx::Either::Right(row) => answer.rows.push($read(&row)?),
            }
        }
        Ok(answer)
    }};
}
pub(super) use run_statement;

impl FromValue<'_> for i64 {
    fn from_value(value: &Value<'static>) -> Option<Self> {
        match value {
            Value::Integer(integer) => *integer,
            _ => None,
        }
    }
}

impl<'r> FromValue<'r> for &'r str {
    fn from_value(value: &'r Value<'static>) -> Option<Self> {
        match value {
            Value::Text(text) => text.as_deref(),
            _ => None,
        }
    }
}

impl<'r> FromValue<'r> for &'r [u8] {
    fn from_value(value: &'r Value<'static>) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => bytes.as_deref(),
            _ => None,
        }
    }
}

impl FromValue<'_> for String {
    fn from_value(value: &Value<'static>) -> Option<Self> {
        <&str>::from_value(value).map(str::to_owned)
    }
}

impl FromValue<'_> for Vec<u8> {
    fn from_value(value: &Value<'static>) -> Option<Self> {
        <&[u8]>::from_value(value).map(<[u8]>::to_vec)
    }
}

impl<'r, T: FromValue<'r>> FromValue<'r> for Option<T> {
    fn from_value(value: &'r Value<'static>) -> Option<Self> {
        match value {
            Value::Integer(None) | Value::Text(None) | Value::Bytes(None) => Some(None),
            _ => T::from_value(value).map(Some),
        }
    }
}

impl From<i64> for Value<'_> {
    fn from(integer: i64) -> Self {
        Self::Integer(Some(integer))
    }
}

impl<'q> From<&'q str> for Value<'q> {
    fn from(text: &'q str) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl<'q> From<&'q String> for Value<'q> {
    fn from(text: &'q String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl<'q> From<Option<&'q str>> for Value<'q> {
    fn from(text: Option<&'q str>) -> Self {
        Self::Text(text.map(Cow::from))
    }
}

impl From<Option<String>> for Value<'_> {
    fn from(text: Option<String>) -> Self {
        Self::Text(text.map(Cow::from))
    }
}

impl<'q> From<&'q Vec<u8>> for Value<'q> {
    fn from(bytes: &'q Vec<u8>) -> Self {
        Self::Bytes(Some(bytes.into()))
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(Some(bytes.into()))
    }
}

impl From<Option<Vec<u8>>> for Value<'_> {
    fn from(bytes: Option<Vec<u8>>) -> Self {
        Self::Bytes(bytes.map(Cow::from))
    }
}
