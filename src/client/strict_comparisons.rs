//! Strict comparisons. In jq every text is greater than every number and equal to none, so that a comparison of the
//! two is a mistake that means all nodes or none. It is made an error, by other definitions of the operators.

use std::collections::BTreeSet;

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Term};
use jaq_core::ops::Cmp;
use jaq_core::path::{Opt, Part, Path};

/// A value that is not there, null, is neither less nor greater than another: such a comparison gives null.
pub(super) const COMPARISONS: &str = r#"
def ur_refuse($l; $r): error("cannot compare \($l | type) (\($l | tojson | .[:40])) with \($r | type) (\($r | tojson | .[:40]))");
def ur_like($l; $r): ($l | type) == ($r | type);
def ur_eq($l; $r): if $l == null or $r == null or ur_like($l; $r) then $l == $r else ur_refuse($l; $r) end;
def ur_ne($l; $r): if $l == null or $r == null or ur_like($l; $r) then $l != $r else ur_refuse($l; $r) end;
def ur_order($l; $r; f): if $l == null or $r == null then null elif ur_like($l; $r) then f else ur_refuse($l; $r) end;
def ur_lt($l; $r): ur_order($l; $r; $l < $r);
def ur_le($l; $r): ur_order($l; $r; $l <= $r);
def ur_gt($l; $r): ur_order($l; $r; $l > $r);
def ur_ge($l; $r): ur_order($l; $r; $l >= $r);
"#;

/// Rewrites an expression, and notes the keys in it.
#[derive(Default)]
pub(super) struct Strict {
    read: BTreeSet<String>,
    made: BTreeSet<String>,
}

type Terms<'s> = Term<&'s str>;

impl Strict {
    /// Those that are read, unless a `?` says that they may be missing or the expression makes them.
    pub(super) fn keys(self) -> BTreeSet<String> {
        self.read.difference(&self.made).cloned().collect()
    }

    pub(super) fn term<'s>(&mut self, term: Terms<'s>) -> Terms<'s> {
        match term {
            Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) => term,
            Term::Str(format, parts) => Term::Str(format, self.parts(parts)),
            Term::Arr(inner) => Term::Arr(inner.map(|inner| self.boxed(*inner))),
            Term::Obj(entries) => Term::Obj(self.entries(entries)),
            Term::Neg(inner) => Term::Neg(self.boxed(*inner)),
            Term::BinOp(left, operator, right) => {
                let (left, right) = (self.boxed(*left), self.boxed(*right));
                match operator {
                    BinaryOp::Cmp(comparison) => Term::Call(name(comparison), vec![*left, *right]),
                    operator => Term::BinOp(left, operator, right),
                }
            }
            Term::Label(label, inner) => Term::Label(label, self.boxed(*inner)),
            Term::Fold(kind, inner, pattern, terms) => {
                Term::Fold(kind, self.boxed(*inner), pattern, self.terms(terms))
            }
            Term::TryCatch(inner, catch) => {
                Term::TryCatch(self.boxed(*inner), catch.map(|catch| self.boxed(*catch)))
            }
            Term::IfThenElse(branches, otherwise) => {
                let branches = branches.into_iter();
                let branches = branches.map(|(is, then)| (self.term(is), self.term(then)));
                let branches = branches.collect();
                Term::IfThenElse(branches, otherwise.map(|inner| self.boxed(*inner)))
            }
            Term::Def(defs, inner) => {
                let defs = defs.into_iter().map(|def| Def {
                    body: self.term(def.body),
                    ..def
                });
                let defs = defs.collect();
                Term::Def(defs, self.boxed(*inner))
            }
            Term::Call(name, arguments) => Term::Call(name, self.terms(arguments)),
            Term::Path(inner, Path(parts)) => {
                let inner = self.boxed(*inner);
                let parts = parts.into_iter();
                let parts =
                    parts.map(|(part, is_optional)| (self.part(part, is_optional), is_optional));
                Term::Path(inner, Path(parts.collect()))
            }
        }
    }

    fn boxed<'s>(&mut self, term: Terms<'s>) -> Box<Terms<'s>> {
        Box::new(self.term(term))
    }

    fn terms<'s>(&mut self, terms: Vec<Terms<'s>>) -> Vec<Terms<'s>> {
        terms.into_iter().map(|term| self.term(term)).collect()
    }

    fn parts<'s>(
        &mut self,
        parts: Vec<StrPart<&'s str, Terms<'s>>>,
    ) -> Vec<StrPart<&'s str, Terms<'s>>> {
        let parts = parts.into_iter().map(|part| match part {
            StrPart::Term(term) => StrPart::Term(self.term(term)),
            text => text,
        });
        parts.collect()
    }

    fn entries<'s>(
        &mut self,
        entries: Vec<(Terms<'s>, Option<Terms<'s>>)>,
    ) -> Vec<(Terms<'s>, Option<Terms<'s>>)> {
        let entries = entries.into_iter().map(|(key, value)| {
            // {Rack} reads what {Rack: …} makes.
            match (&value, literal(&key)) {
                (Some(_), Some(key)) => self.made.insert(key),
                (None, Some(key)) => self.read.insert(key),
                _ => false,
            };
            (self.term(key), value.map(|value| self.term(value)))
        });
        entries.collect()
    }

    fn part<'s>(&mut self, part: Part<Terms<'s>>, is_optional: Opt) -> Part<Terms<'s>> {
        match part {
            Part::Index(index) => {
                if let (Opt::Essential, Some(key)) = (is_optional, literal(&index)) {
                    self.read.insert(key);
                }
                Part::Index(self.term(index))
            }
            Part::Range(from, to) => {
                Part::Range(from.map(|from| self.term(from)), to.map(|to| self.term(to)))
            }
        }
    }
}

/// The text that a term is, if it is no more than that.
fn literal(term: &Terms<'_>) -> Option<String> {
    let Term::Str(None, parts) = term else {
        return None;
    };
    let texts = parts.iter().map(|part| match part {
        StrPart::Str(text) => Some((*text).to_owned()),
        StrPart::Char(c) => Some(c.to_string()),
        StrPart::Term(_) => None,
    });
    texts.collect()
}

fn name(comparison: Cmp) -> &'static str {
    match comparison {
        Cmp::Eq => "ur_eq",
        Cmp::Ne => "ur_ne",
        Cmp::Lt => "ur_lt",
        Cmp::Le => "ur_le",
        Cmp::Gt => "ur_gt",
        Cmp::Ge => "ur_ge",
    }
}
