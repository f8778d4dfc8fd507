//! Builds the tree of a template from its tokens.

use super::{
    ParseError,
    functions::is_function,
    lex::{Kind, Token, tokens},
    value::Value,
};

/// Nesting of blocks and parentheses that is accepted; deeper is no format
/// string of a person, and recursion must end before the stack does.
const DEPTH_MAX: usize = 64;

#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct Branch {
    pub(super) pipe: Pipe,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// `$x := a | b c`
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) at: usize,
    pub(super) variables: Vec<String>,
    /// `=` rather than `:=`.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Call>,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) at: usize,
    /// Source text, for messages.
    pub(super) text: String,
    pub(super) operands: Vec<Operand>,
}

#[derive(Debug)]
pub(super) enum Operand {
    Dot,
    Constant(Value),
    Function(String),
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A.B`
    Variable(String, Vec<String>),
    /// `(pipeline).A.B`
    Group(Box<Pipe>, Vec<String>),
}

pub(super) fn parse(source: &str) -> Result<Vec<Node>, ParseError> {
    let mut parser = Parser {
        source,
        tokens: tokens(source)?,
        next: 0,
        depth: 0,
        loops: 0,
        scope: vec!["$".to_owned()],
    };
    let (nodes, end) = parser.list()?;
    match end {
        Stop::Eof => Ok(nodes),
        Stop::Else(at) => Err(ParseError::new(source, at, "unexpected {{else}}")),
        Stop::End(at) => Err(ParseError::new(source, at, "unexpected {{end}}")),
    }
}

/// What ended a list of nodes. After `Else`, the parser stands behind the word.
enum Stop {
    Eof,
    Else(usize),
    End(usize),
}

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    loops: usize,
    scope: Vec<String>,
}

impl Parser<'_> {
    fn error(&self, message: &str) -> ParseError {
        let at = self
            .tokens
            .get(self.next)
            .map_or(self.source.len(), |t| t.at);
        ParseError::new(self.source, at, message)
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.next).map(|token| &token.kind)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).cloned();
        self.next += 1;
        token
    }

    fn skip_space(&mut self) {
        while self.peek() == Some(&Kind::Space) {
            self.next += 1;
        }
    }

    fn here(&self) -> usize {
        self.tokens
            .get(self.next)
            .map_or(self.source.len(), |t| t.at)
    }

    fn close(&mut self, context: &str) -> Result<(), ParseError> {
        self.skip_space();
        match self.peek() {
            Some(Kind::Close) => {
                self.next += 1;
                Ok(())
            }
            _ => Err(self.unexpected(context)),
        }
    }

    fn unexpected(&self, context: &str) -> ParseError {
        let text = match self.peek() {
            None | Some(Kind::Close) => "\"}}\"".to_owned(),
            Some(_) => {
                let to = self
                    .tokens
                    .get(self.next + 1)
                    .map_or(self.source.len(), |t| t.at);
                format!("{:?}", &self.source[self.here()..to])
            }
        };
        self.error(&format!("unexpected {text} in {context}"))
    }

    fn enter(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error("the template is nested too deeply"));
        }
        Ok(())
    }

    fn list(&mut self) -> Result<(Vec<Node>, Stop), ParseError> {
        let mut nodes = Vec::new();
        while let Some(token) = self.take() {
            if let Kind::Text(text) = token.kind {
                nodes.push(Node::Text(text));
                continue;
            }
            self.skip_space();
            let word = match self.peek() {
                Some(Kind::Word(word)) => word.clone(),
                _ => String::new(),
            };
            let node = match word.as_str() {
                "end" => {
                    self.next += 1;
                    self.close("end")?;
                    return Ok((nodes, Stop::End(token.at)));
                }
                "else" => {
                    self.next += 1;
                    return Ok((nodes, Stop::Else(token.at)));
                }
                "if" | "with" | "range" => {
                    self.next += 1;
                    self.control(&word)?
                }
                "break" | "continue" => {
                    if self.loops == 0 {
                        return Err(self.error(&format!("{{{{{word}}}}} outside {{{{range}}}}")));
                    }
                    self.next += 1;
                    self.close(&word)?;
                    if word == "break" {
                        Node::Break
                    } else {
                        Node::Continue
                    }
                }
                "define" | "template" | "block" => {
                    return Err(self.error(&format!("{{{{{word}}}}} is not supported in a format")));
                }
                _ => {
                    let pipe = self.pipeline("command", 1)?;
                    self.close("operand")?;
                    Node::Action(pipe)
                }
            };
            nodes.push(node);
        }
        Ok((nodes, Stop::Eof))
    }

    fn control(&mut self, word: &str) -> Result<Node, ParseError> {
        self.enter()?;
        let variables = self.scope.len();
        let pipe = self.pipeline(word, if word == "range" { 2 } else { 1 })?;
        self.close(word)?;
        if word == "range" {
            self.loops += 1;
        }
        let (body, end) = self.list()?;
        if word == "range" {
            self.loops -= 1;
        }
        self.scope.truncate(variables);
        let otherwise = match end {
            Stop::End(_) => Vec::new(),
            Stop::Eof => return Err(self.error("unexpected EOF")),
            Stop::Else(_) => self.otherwise(word)?,
        };
        self.scope.truncate(variables);
        self.depth -= 1;
        let branch = Branch {
            pipe,
            body,
            otherwise,
        };
        Ok(match word {
            "if" => Node::If(branch),
            "with" => Node::With(branch),
            _ => Node::Range(branch),
        })
    }

    /// The part behind `else`: a list up to `end`, or one chained `else if`.
    fn otherwise(&mut self, word: &str) -> Result<Vec<Node>, ParseError> {
        self.skip_space();
        if let Some(Kind::Word(chained)) = self.peek().cloned()
            && chained == word
            && word != "range"
        {
            self.next += 1;
            return Ok(vec![self.control(word)?]);
        }
        self.close("else")?;
        match self.list()? {
            (nodes, Stop::End(_)) => Ok(nodes),
            (_, Stop::Else(at)) => Err(ParseError::new(
                self.source,
                at,
                "expected end; found {{else}}",
            )),
            (_, Stop::Eof) => Err(self.error("unexpected EOF")),
        }
    }

    fn pipeline(&mut self, context: &str, variables_max: usize) -> Result<Pipe, ParseError> {
        self.skip_space();
        let at = self.here();
        let (variables, assigns) = self.declaration(variables_max)?;
        let mut commands = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                Some(Kind::Close | Kind::CloseParen) | None => {
                    if commands.is_empty() {
                        return Err(self.error(&format!("missing value for {context}")));
                    }
                    return Err(self.error("missing value for command"));
                }
                _ => commands.push(self.call()?),
            }
            self.skip_space();
            match self.peek() {
                Some(Kind::Pipe) => self.next += 1,
                _ => break,
            }
        }
        for later in commands.iter().skip(1) {
            if matches!(
                later.operands[0],
                Operand::Constant(_) | Operand::Dot | Operand::Group(..)
            ) {
                return Err(ParseError::new(
                    self.source,
                    later.at,
                    &format!("non executable command in pipeline: {}", later.text),
                ));
            }
        }
        Ok(Pipe {
            at,
            variables,
            assigns,
            commands,
        })
    }

    /// `$a :=`, `$a =`, `$i, $v :=`; nothing when the pipeline starts otherwise.
    fn declaration(&mut self, variables_max: usize) -> Result<(Vec<String>, bool), ParseError> {
        let start = self.next;
        let mut names = Vec::new();
        while let Some(Kind::Variable(name)) = self.peek().cloned() {
            self.next += 1;
            self.skip_space();
            names.push(name);
            match self.peek() {
                Some(Kind::Comma) if names.len() < variables_max => {
                    self.next += 1;
                    self.skip_space();
                }
                Some(Kind::Declare) => {
                    self.next += 1;
                    self.scope.extend(names.iter().cloned());
                    return Ok((names, false));
                }
                Some(Kind::Assign) => {
                    if let Some(name) = names.iter().find(|n| !self.scope.contains(n)) {
                        return Err(self.error(&format!("undefined variable {name:?}")));
                    }
                    self.next += 1;
                    return Ok((names, true));
                }
                _ => break,
            }
        }
        self.next = start;
        Ok((Vec::new(), false))
    }

    fn call(&mut self) -> Result<Call, ParseError> {
        let at = self.here();
        let mut operands = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                None | Some(Kind::Close | Kind::CloseParen | Kind::Pipe) => break,
                _ => operands.push(self.operand()?),
            }
            match self.peek() {
                None | Some(Kind::Close | Kind::CloseParen | Kind::Pipe | Kind::Space) => {}
                _ => return Err(self.unexpected("operand")),
            }
        }
        if operands.is_empty() {
            return Err(self.error("missing value for command"));
        }
        let text = self.source[at..self.here()].trim_end().to_owned();
        Ok(Call { at, text, operands })
    }

    fn operand(&mut self) -> Result<Operand, ParseError> {
        let before = self.next;
        let Some(token) = self.take() else {
            return Err(self.error("unexpected end of template"));
        };
        let operand = match token.kind {
            Kind::Dot => Operand::Dot,
            Kind::Str(text) => Operand::Constant(Value::Str(text)),
            Kind::Int(value) => Operand::Constant(Value::Int(value)),
            Kind::Float(value) => Operand::Constant(Value::Float(value)),
            Kind::Word(word) => match word.as_str() {
                "true" => Operand::Constant(Value::Bool(true)),
                "false" => Operand::Constant(Value::Bool(false)),
                "nil" => Operand::Constant(Value::Nil),
                name if is_function(name) => Operand::Function(word),
                name => {
                    return Err(ParseError::new(
                        self.source,
                        token.at,
                        &format!("function {name:?} not defined"),
                    ));
                }
            },
            Kind::Field(name) => {
                let mut names = vec![name];
                names.extend(self.fields());
                Operand::Field(names)
            }
            Kind::Variable(name) => {
                if !self.scope.contains(&name) {
                    return Err(ParseError::new(
                        self.source,
                        token.at,
                        &format!("undefined variable {name:?}"),
                    ));
                }
                Operand::Variable(name, self.fields())
            }
            Kind::OpenParen => {
                self.enter()?;
                let pipe = self.pipeline("parenthesized pipeline", 0)?;
                self.skip_space();
                if self.peek() != Some(&Kind::CloseParen) {
                    return Err(self.unexpected("parenthesized pipeline"));
                }
                self.next += 1;
                self.depth -= 1;
                Operand::Group(Box::new(pipe), self.fields())
            }
            _ => {
                self.next = before;
                return Err(self.unexpected("operand"));
            }
        };
        Ok(operand)
    }

    /// The `.A.B` that directly follows, without space.
    fn fields(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(Kind::Field(name)) = self.peek().cloned() {
            self.next += 1;
            names.push(name);
        }
        names
    }
}
