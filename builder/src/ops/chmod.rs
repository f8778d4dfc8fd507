//! Symbolic modes, as chmod(1) takes them: `u=rwX,go=rX`.

/// A text that is no symbolic mode.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a file mode: write octal digits or clauses such as u=rwX,go=rX")]
pub(crate) struct BadMode(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

/// One clause: whose bits, and what happens to which.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Clause {
    /// Mask of the bits of those named: 0o700, 0o070, 0o007.
    who: u32,
    operator: Operator,
    /// Bits for everybody: 0o777 pattern from r, w and x.
    bits: u32,
    /// `X`: execution for directories and what somebody may execute already.
    conditional: bool,
    setid: bool,
    sticky: bool,
    /// `u`, `g` or `o` on the right: those bits are taken from the file.
    copied: Option<u32>,
}

/// A parsed mode. Applied without the umask, which a build does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Symbolic(Vec<Clause>);

impl Symbolic {
    pub(crate) fn parse(text: &str) -> Result<Self, BadMode> {
        let bad = || BadMode(text.chars().take(80).collect());
        let mut clauses = Vec::new();
        for part in text.split(',') {
            let start = part.find(['+', '-', '=']).ok_or_else(bad)?;
            let who = who(&part[..start]).ok_or_else(bad)?;
            let mut rest = &part[start..];
            while !rest.is_empty() {
                let operator = match rest.as_bytes()[0] {
                    b'+' => Operator::Add,
                    b'-' => Operator::Remove,
                    b'=' => Operator::Set,
                    _ => return Err(bad()),
                };
                rest = &rest[1..];
                let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
                clauses.push(clause(who, operator, &rest[..end]).ok_or_else(bad)?);
                rest = &rest[end..];
            }
        }
        Ok(Self(clauses))
    }

    /// The mode of a file that has `mode` now.
    pub(crate) fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        self.0.iter().fold(mode, |mode, c| c.apply(mode, is_dir))
    }
}

fn who(text: &str) -> Option<u32> {
    if text.is_empty() {
        return Some(0o777);
    }
    text.chars().try_fold(0, |mask, c| match c {
        'u' => Some(mask | 0o700),
        'g' => Some(mask | 0o070),
        'o' => Some(mask | 0o007),
        'a' => Some(0o777),
        _ => None,
    })
}

fn clause(who: u32, operator: Operator, text: &str) -> Option<Clause> {
    let mut clause = Clause {
        who,
        operator,
        bits: 0,
        conditional: false,
        setid: false,
        sticky: false,
        copied: None,
    };
    if let "u" | "g" | "o" = text {
        clause.copied = Some(match text {
            "u" => 6,
            "g" => 3,
            _ => 0,
        });
        return Some(clause);
    }
    for c in text.chars() {
        match c {
            'r' => clause.bits |= 0o444,
            'w' => clause.bits |= 0o222,
            'x' => clause.bits |= 0o111,
            'X' => clause.conditional = true,
            's' => clause.setid = true,
            't' => clause.sticky = true,
            _ => return None,
        }
    }
    Some(clause)
}

impl Clause {
    fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let mut bits = self.bits;
        if let Some(shift) = self.copied {
            bits = (mode >> shift & 7) * 0o111;
        }
        if self.conditional && (is_dir || mode & 0o111 != 0) {
            bits |= 0o111;
        }
        let mut change = bits & self.who;
        let mut owned = self.who;
        for (of, bit) in [(0o700, 0o4000), (0o070, 0o2000)] {
            if self.who & of != 0 {
                owned |= bit;
                if self.setid {
                    change |= bit;
                }
            }
        }
        if self.sticky {
            change |= 0o1000;
        }
        match self.operator {
            Operator::Add => mode | change,
            Operator::Remove => mode & !change,
            // A directory keeps its set-id bits unless they are named (chmod(1)).
            Operator::Set if is_dir => mode & !(owned & 0o777) | change,
            Operator::Set => mode & !owned | change,
        }
    }
}

#[cfg(test)]
#[path = "chmod/tests.rs"]
mod tests;
