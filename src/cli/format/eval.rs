//! What a template says of a value. Pure; whatever the template, it ends, and its text is no longer than it may be.

use super::parser::{Base, Block, Node, Operand, Pipe, Template};
use super::{functions, is_true, sorted, text, wrong};
use crate::error::Result;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Actions done in all: ranges in ranges would go on for ever.
const MAX_STEPS: usize = 1_000_000;

/// docker's fields that are a dictionary of anybody's words: what is not in one is nothing, not a mistake.
const DICTIONARIES: [&str; 10] = [
    "Labels",
    "Annotations",
    "Attributes",
    "Options",
    "Networks",
    "Ports",
    "Sysctls",
    "Volumes",
    "ExposedPorts",
    "PortBindings",
];

/// What the value is like.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules<'a> {
    /// Fields that docker has everywhere and shows only where they are set: nothing where they are missing.
    pub optional: &'a [&'a str],
    /// Fields with a word: `.Label "x"`.
    pub lookups: Option<&'a Map<String, Value>>,
    /// It is the columns' names.
    pub header: bool,
}

pub(super) fn render(template: &Template, value: &Value, rules: Rules<'_>) -> Result<String> {
    let mut run = Run { rules, text: String::new(), variables: vec![("$", Cow::Borrowed(value))], steps: 0 };
    run.nodes(&template.nodes, value)?;
    Ok(run.text)
}

struct Run<'a, 't, 'v> {
    rules: Rules<'a>,
    text: String,
    variables: Vec<(&'t str, Cow<'v, Value>)>,
    steps: usize,
}

/// How a list of nodes was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl<'t> Run<'_, 't, '_> {
    fn nodes(&mut self, nodes: &'t [Node], dot: &Value) -> Result<Flow> {
        let declared = self.variables.len();
        let mut flow = Flow::On;
        for node in nodes {
            flow = self.node(node, dot)?;
            if flow != Flow::On {
                break;
            }
        }
        self.variables.truncate(declared);
        Ok(flow)
    }

    fn node(&mut self, node: &'t Node, dot: &Value) -> Result<Flow> {
        self.step()?;
        match node {
            Node::Text(text) => self.say(text).map(|()| Flow::On),
            Node::Print(pipe) => {
                let value = self.pipe(pipe, dot)?;
                match value {
                    _ if !pipe.names.is_empty() => self.set(pipe, &[value]),
                    Value::Null => self.say("<no value>")?,
                    value => self.say(&text::show(&value))?,
                }
                Ok(Flow::On)
            }
            Node::Block { kind, pipe, body, or_else } => {
                let declared = self.variables.len();
                let value = self.pipe(pipe, dot)?;
                let flow = match kind {
                    Block::Range => self.range(pipe, value, body, or_else, dot)?,
                    Block::If | Block::With => {
                        self.set(pipe, std::slice::from_ref(&value));
                        match (is_true(&value), kind) {
                            (true, Block::With) => self.nodes(body, &value)?,
                            (true, _) => self.nodes(body, dot)?,
                            (false, _) => self.nodes(or_else, dot)?,
                        }
                    }
                };
                self.variables.truncate(declared);
                Ok(flow)
            }
            Node::Break => Ok(Flow::Break),
            Node::Continue => Ok(Flow::Continue),
        }
    }

    fn range(
        &mut self,
        pipe: &'t Pipe,
        value: Value,
        body: &'t [Node],
        or_else: &'t [Node],
        dot: &Value,
    ) -> Result<Flow> {
        let number = |at: usize| Value::from(at);
        let pairs: Vec<(Value, Value)> = match value {
            Value::Null => Vec::new(),
            Value::Array(all) => all.into_iter().enumerate().map(|(at, value)| (number(at), value)).collect(),
            Value::Object(map) => sorted(&map).into_iter().map(|(k, v)| (k.as_str().into(), v.clone())).collect(),
            Value::Number(count) if count.is_i64() || count.is_u64() => {
                let count = count.as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
                if count > MAX_STEPS {
                    return Err(too_many());
                }
                (0..count).map(|at| (number(at), number(at))).collect()
            }
            other => return Err(wrong(format!("range cannot go over {}", text::type_name(&other)))),
        };
        if pairs.is_empty() {
            return self.nodes(or_else, dot);
        }
        let declared = self.variables.len();
        for (key, value) in pairs {
            self.step()?;
            match pipe.names.len() {
                0 => {}
                1 => self.set(pipe, std::slice::from_ref(&value)),
                _ => self.set(pipe, &[key, value.clone()]),
            }
            let flow = self.nodes(body, &value)?;
            self.variables.truncate(declared);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn set(&mut self, pipe: &'t Pipe, values: &[Value]) {
        for (name, value) in pipe.names.iter().zip(values) {
            let known = self.variables.iter_mut().rev().find(|(known, _)| known == name).filter(|_| !pipe.declares);
            match known {
                Some((_, old)) => *old = Cow::Owned(value.clone()),
                None => self.variables.push((name, Cow::Owned(value.clone()))),
            }
        }
    }

    fn pipe(&mut self, pipe: &'t Pipe, dot: &Value) -> Result<Value> {
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or_default())
    }

    fn command(&mut self, words: &'t [Operand], last: Option<Value>, dot: &Value) -> Result<Value> {
        self.step()?;
        let Some((first, rest)) = words.split_first() else { return Ok(Value::Null) };
        match first {
            Operand::Function(name) => self.call(name, rest, last, dot),
            _ if rest.is_empty() && last.is_none() => self.operand(first, dot),
            Operand::Of(_, fields) if fields.len() == 1 && self.lookup(&fields[0]).is_some() => {
                let key = match rest.first() {
                    Some(word) => self.operand(word, dot)?,
                    None => last.unwrap_or_default(),
                };
                let key = key.as_str().ok_or_else(|| wrong(format!(".{} takes a word", fields[0])))?;
                Ok(match self.rules.header {
                    true => key.rsplit('.').next().unwrap_or(key).replace(['-', '_'], " ").into(),
                    false => self.lookup(&fields[0]).and_then(|map| map.get(key)).cloned().unwrap_or_else(|| "".into()),
                })
            }
            Operand::Of(_, fields) if !fields.is_empty() => {
                Err(wrong(format!("{} is no function and takes no words", path(fields))))
            }
            Operand::Literal(_) | Operand::Of(..) => Err(wrong("a word follows what is no function")),
        }
    }

    fn lookup(&self, name: &str) -> Option<&Map<String, Value>> {
        self.rules.lookups?.get(name)?.as_object()
    }

    fn call(&mut self, name: &str, words: &'t [Operand], last: Option<Value>, dot: &Value) -> Result<Value> {
        if matches!(name, "and" | "or") {
            let mut value = None;
            for word in words {
                let this = self.operand(word, dot)?;
                if is_true(&this) == (name == "or") {
                    return Ok(this);
                }
                value = Some(this);
            }
            return last.or(value).ok_or_else(|| wrong(format!("{name} needs a word")));
        }
        let mut values = words.iter().map(|word| self.operand(word, dot)).collect::<Result<Vec<_>>>()?;
        values.extend(last);
        let value = match self.rules.header {
            true => functions::call_in_header(name, &values)?,
            false => functions::call(name, &values)?,
        };
        match &value {
            Value::String(text) if text.len() > super::MAX_TEXT => Err(super::too_long()),
            _ => Ok(value),
        }
    }

    fn operand(&mut self, operand: &'t Operand, dot: &Value) -> Result<Value> {
        self.step()?;
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Function(name) => self.call(name, &[], None, dot),
            Operand::Of(Base::Dot, fields) => self.walk(dot, fields).map(Cow::into_owned),
            Operand::Of(Base::Variable(name), fields) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) = known.ok_or_else(|| wrong(format!("undefined variable {name}")))?;
                self.walk(value, fields).map(Cow::into_owned)
            }
            Operand::Of(Base::Pipe(pipe), fields) => {
                let value = self.pipe(pipe, dot)?;
                self.walk(&value, fields).map(Cow::into_owned)
            }
        }
    }

    /// The value at the end of the fields.
    fn walk<'v>(&self, from: &'v Value, fields: &[String]) -> Result<Cow<'v, Value>> {
        let mut found = from;
        for (at, name) in fields.iter().enumerate() {
            found = match found {
                Value::Object(map) => match map.get(name) {
                    Some(value) => value,
                    None if self.may_lack(fields, at) => &Value::Null,
                    None => {
                        let known = map.keys().map(|key| format!(".{key}")).collect::<Vec<_>>().join(", ");
                        let error = wrong(format!("{}: map has no entry for key {name:?}", path(&fields[..=at])));
                        return Err(if known.is_empty() { error } else { error.hint(format!("there are {known}")) });
                    }
                },
                Value::Null => {
                    return Err(wrong(format!("{}: nil data; no entry for key {name:?}", path(&fields[..=at]))));
                }
                other => {
                    let of = text::type_name(other);
                    return Err(wrong(format!("{}: can't evaluate field {name} in type {of}", path(&fields[..=at]))));
                }
            };
        }
        Ok(Cow::Borrowed(found))
    }

    fn may_lack(&self, fields: &[String], at: usize) -> bool {
        let parent = at.checked_sub(1).map(|at| fields[at].as_str());
        self.rules.optional.contains(&fields[at].as_str())
            || parent.is_some_and(|parent| DICTIONARIES.contains(&parent))
    }

    fn say(&mut self, text: &str) -> Result<()> {
        self.text.push_str(text);
        if self.text.len() > super::MAX_TEXT { Err(super::too_long()) } else { Ok(()) }
    }

    fn step(&mut self) -> Result<()> {
        self.steps += 1;
        if self.steps > MAX_STEPS { Err(too_many()) } else { Ok(()) }
    }
}

fn too_many() -> crate::error::Error {
    wrong(format!("more than {MAX_STEPS} steps"))
}

fn path(fields: &[String]) -> String {
    fields.iter().map(|field| format!(".{field}")).collect()
}
