//! A template's pieces as a tree, with all that can be known to be wrong before there is a value. Pure.
//! Grammar: Go, text/template/parse/parse.go; without `define`, `template` and `block`, which docker's users have no use for.

use super::lexer::{Escapes, Piece, Token, Word, pieces};
use super::{functions, wrong};
use crate::error::Result;
use serde_json::Value;
use std::collections::BTreeSet;

/// How deep actions and parentheses may lie in each other: all walks over the tree recurse so deep and no deeper.
const MAX_DEPTH: usize = 100;

/// A template that can be understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Template {
    pub nodes: Vec<Node>,
    /// The fields of the value itself that are named anywhere.
    pub fields: BTreeSet<String>,
    /// Whether it is meant as a whole, too: `{{json .}}`.
    pub whole: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    Print(Pipe),
    /// `else` is what stands there where the value is empty.
    Block {
        kind: Block,
        pipe: Pipe,
        body: Vec<Node>,
        or_else: Vec<Node>,
    },
    Break,
    Continue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    If,
    With,
    Range,
}

/// Commands, each of which gets the value of the one before as its last word.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipe {
    /// `$x :=`, `$x =`, and `$k, $v :=` of range.
    pub names: Vec<String>,
    pub declares: bool,
    pub commands: Vec<Vec<Operand>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Literal(Value),
    Function(String),
    /// A value, and the fields in it that are meant.
    Of(Base, Vec<String>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Pipe(Box<Pipe>),
}

pub(super) fn parse(text: &str, escapes: Escapes) -> Result<Template> {
    let pieces = pieces(text, escapes)?.into_iter();
    let (variables, fields) = (vec!["$".to_owned()], BTreeSet::new());
    let mut parser = Parser { pieces, depth: 0, loops: 0, moved: 0, variables, fields, whole: false };
    match parser.nodes()? {
        (nodes, Stop::EndOfText) => Ok(Template { nodes, fields: parser.fields, whole: parser.whole }),
        (_, Stop::End) => Err(wrong("unexpected {{end}}")),
        (_, Stop::Else(_)) => Err(wrong("unexpected {{else}}")),
    }
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    depth: usize,
    /// How many ranges are around.
    loops: usize,
    /// How many blocks are around in which the dot is another value.
    moved: usize,
    /// Those that are declared here.
    variables: Vec<String>,
    fields: BTreeSet<String>,
    whole: bool,
}

/// Why a list of nodes has ended.
enum Stop {
    EndOfText,
    End,
    /// With the words behind it.
    Else(Vec<Token>),
}

impl Parser {
    fn nodes(&mut self) -> Result<(Vec<Node>, Stop)> {
        let (declared, mut nodes) = (self.variables.len(), Vec::new());
        let stop = loop {
            let tokens = match self.pieces.next() {
                None => break Stop::EndOfText,
                Some(Piece::Text(text)) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Some(Piece::Action(tokens)) => tokens,
            };
            let keyword = match tokens.first().map(|token| &token.word) {
                Some(Word::Name(name)) => name.as_str(),
                _ => "",
            };
            let rest = tokens.get(1..).unwrap_or_default();
            nodes.push(match keyword {
                "if" => self.block(Block::If, rest)?,
                "with" => self.block(Block::With, rest)?,
                "range" => self.block(Block::Range, rest)?,
                "else" => break Stop::Else(rest.to_vec()),
                "end" | "break" | "continue" if !rest.is_empty() => {
                    return Err(wrong(format!("unexpected word behind {keyword}")));
                }
                "end" => break Stop::End,
                "break" | "continue" if self.loops == 0 => {
                    return Err(wrong(format!("{{{{{keyword}}}}} outside of range")));
                }
                "break" => Node::Break,
                "continue" => Node::Continue,
                "define" | "template" | "block" => return Err(wrong(format!("{keyword} is not supported"))),
                _ => Node::Print(self.single(&tokens)?),
            });
        };
        self.variables.truncate(declared);
        Ok((nodes, stop))
    }

    fn block(&mut self, kind: Block, tokens: &[Token]) -> Result<Node> {
        self.descend()?;
        let declared = self.variables.len();
        let pipe = if kind == Block::Range { self.whole_pipe(tokens)? } else { self.single(tokens)? };
        let (range, moves) = (usize::from(kind == Block::Range), usize::from(kind != Block::If));
        self.loops += range;
        self.moved += moves;
        let (body, stop) = self.nodes()?;
        self.loops -= range;
        self.moved -= moves;
        let or_else = match stop {
            Stop::End => Vec::new(),
            Stop::Else(words) => self.or_else(&words)?,
            Stop::EndOfText => return Err(wrong("a block has no {{end}}")),
        };
        self.variables.truncate(declared);
        self.depth -= 1;
        Ok(Node::Block { kind, pipe, body, or_else })
    }

    /// What follows `else`, up to the end that it shares with its block.
    fn or_else(&mut self, words: &[Token]) -> Result<Vec<Node>> {
        let kind = match words.first().map(|token| &token.word) {
            None => {
                return match self.nodes()? {
                    (nodes, Stop::End) => Ok(nodes),
                    (_, Stop::Else(_)) => Err(wrong("a block has two {{else}}")),
                    (_, Stop::EndOfText) => Err(wrong("a block has no {{end}}")),
                };
            }
            Some(Word::Name(name)) if name == "if" => Block::If,
            Some(Word::Name(name)) if name == "with" => Block::With,
            Some(_) => return Err(wrong("unexpected word behind else")),
        };
        Ok(vec![self.block(kind, &words[1..])?])
    }

    fn descend(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(wrong(format!("more than {MAX_DEPTH} levels"))) } else { Ok(()) }
    }

    /// The pipe that all these words are.
    fn whole_pipe(&mut self, tokens: &[Token]) -> Result<Pipe> {
        let mut rest = tokens;
        let pipe = self.pipe(&mut rest)?;
        if rest.is_empty() { Ok(pipe) } else { Err(wrong("unexpected ) or , in an action")) }
    }

    /// The same where there is one value, and so at most one variable.
    fn single(&mut self, tokens: &[Token]) -> Result<Pipe> {
        let pipe = self.whole_pipe(tokens)?;
        if pipe.names.len() > 1 { Err(wrong("only range sets two variables")) } else { Ok(pipe) }
    }

    /// A pipe, up to the end or a closing parenthesis.
    fn pipe(&mut self, rest: &mut &[Token]) -> Result<Pipe> {
        let (names, declares, length) = declaration(rest);
        *rest = &rest[length..];
        let mut commands = vec![self.command(rest)?];
        while let [Token { word: Word::Pipe, .. }, after @ ..] = *rest {
            *rest = after;
            commands.push(self.command(rest)?);
        }
        if declares {
            self.variables.extend(names.iter().cloned());
        } else if let Some(unknown) = names.iter().find(|name| !self.variables.contains(name)) {
            return Err(wrong(format!("undefined variable {unknown}")));
        }
        Ok(Pipe { names, declares, commands })
    }

    fn command(&mut self, rest: &mut &[Token]) -> Result<Vec<Operand>> {
        let mut words = Vec::new();
        while let Some(token) = rest.first().filter(|t| !matches!(t.word, Word::Pipe | Word::Close | Word::Comma)) {
            *rest = &rest[1..];
            words.push(self.operand(token, rest)?);
        }
        match words.first() {
            None => Err(wrong("a value is missing")),
            Some(Operand::Literal(Value::Null)) => Err(wrong("nil is not a value to print")),
            Some(_) => Ok(words),
        }
    }

    fn operand(&mut self, first: &Token, rest: &mut &[Token]) -> Result<Operand> {
        let (base, mut fields) = match &first.word {
            Word::Dot => (Base::Dot, Vec::new()),
            Word::Field(name) => (Base::Dot, vec![name.clone()]),
            Word::Variable(name) if !self.variables.contains(name) => {
                return Err(wrong(format!("undefined variable {name}")));
            }
            Word::Variable(name) => (Base::Variable(name.clone()), Vec::new()),
            Word::Literal(value) => return Ok(Operand::Literal(value.clone())),
            Word::Name(name) => {
                return Ok(match name.as_str() {
                    "true" => Operand::Literal(true.into()),
                    "false" => Operand::Literal(false.into()),
                    "nil" => Operand::Literal(Value::Null),
                    name if functions::is_known(name) => Operand::Function(name.to_owned()),
                    name => {
                        return Err(wrong(format!("function {name:?} is not defined"))
                            .hint(format!("there are {}", functions::NAMES.join(", "))));
                    }
                });
            }
            Word::Open => {
                self.descend()?;
                let inner = self.pipe(rest)?;
                let [Token { word: Word::Close, .. }, after @ ..] = *rest else { return Err(wrong("a ( has no )")) };
                *rest = after;
                self.depth -= 1;
                (Base::Pipe(Box::new(inner)), Vec::new())
            }
            Word::Pipe | Word::Close | Word::Comma | Word::Declare | Word::Assign => {
                return Err(wrong("unexpected = or := in an action"));
            }
        };
        while let [Token { word: Word::Field(name), spaced: false }, after @ ..] = *rest {
            fields.push(name.clone());
            *rest = after;
        }
        let of_value = match &base {
            Base::Dot => self.moved == 0,
            Base::Variable(name) => name == "$",
            Base::Pipe(_) => false,
        };
        self.fields.extend(fields.first().filter(|_| of_value).cloned());
        self.whole |= of_value && fields.is_empty();
        Ok(Operand::Of(base, fields))
    }
}

/// The variables that a pipe sets, whether it declares them, and how many words that took.
fn declaration(tokens: &[Token]) -> (Vec<String>, bool, usize) {
    let word = |at: usize| tokens.get(at).map(|token| &token.word);
    match (word(0), word(1), word(2), word(3)) {
        (Some(Word::Variable(a)), Some(set @ (Word::Declare | Word::Assign)), ..) => {
            (vec![a.clone()], *set == Word::Declare, 2)
        }
        (
            Some(Word::Variable(a)),
            Some(Word::Comma),
            Some(Word::Variable(b)),
            Some(set @ (Word::Declare | Word::Assign)),
        ) => (vec![a.clone(), b.clone()], *set == Word::Declare, 4),
        _ => (Vec::new(), false, 0),
    }
}
