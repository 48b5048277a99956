//! Conditions, loops and templates in templates.

use std::sync::Arc;

use super::At;
use super::{Flow, MAX_DEPTH, Run};
use crate::alert::template::tree::{Branch, Call};
use crate::alert::template::value::Value;

impl<'a> Run<'a> {
    pub(super) fn choose(
        &mut self,
        branch: &'a Branch,
        dot: &Value,
        moves: bool,
    ) -> Result<Flow, String> {
        let mark = self.variables.len();
        let value = self.pipe(&branch.pipe, dot)?;
        let flow = if value.is_true() {
            self.list(&branch.body, if moves { &value } else { dot })
        } else {
            self.list(&branch.otherwise, dot)
        };
        self.variables.truncate(mark);
        flow
    }

    pub(super) fn range(&mut self, branch: &'a Branch, dot: &Value) -> Result<(), String> {
        let mark = self.variables.len();
        let value = self.pipe(&branch.pipe, dot)?;
        self.variables.truncate(mark);
        let mut any = false;
        let mut turn = |run: &mut Self, key: Value, element: Value| -> Result<bool, String> {
            any = true;
            run.step()?;
            let flow = run.turn(branch, key, &element)?;
            run.variables.truncate(mark);
            Ok(flow != Flow::Break)
        };
        match &value {
            Value::Nil => {}
            Value::Int(count) => {
                for index in 0..*count {
                    if !turn(self, Value::Int(index), Value::Int(index))? {
                        break;
                    }
                }
            }
            Value::Labels(map) => {
                for (name, text) in map.iter() {
                    if !turn(self, name.as_str().into(), text.as_str().into())? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (name, value) in map.iter() {
                    if !turn(self, name.as_str().into(), value.clone())? {
                        break;
                    }
                }
            }
            Value::Samples(samples) => {
                for (index, sample) in samples.iter().enumerate() {
                    let element = Value::Sample(Arc::clone(sample));
                    if !turn(self, Value::Int(index as i64), element)? {
                        break;
                    }
                }
            }
            other => {
                return Err(format!("range can't iterate over {}", other.shown()));
            }
        }
        if !any {
            self.list(&branch.otherwise, dot)?;
            self.variables.truncate(mark);
        }
        Ok(())
    }

    /// One turn of a loop.
    fn turn(&mut self, branch: &'a Branch, key: Value, element: &Value) -> Result<Flow, String> {
        let pipe = &branch.pipe;
        let values = match pipe.variables.as_slice() {
            [] => vec![],
            [one] => vec![(one, element.clone())],
            [first, second, ..] => vec![(first, key), (second, element.clone())],
        };
        for (name, value) in values {
            self.bind(name, value, pipe.assigns)?;
        }
        self.list(&branch.body, element)
    }

    pub(super) fn bind(
        &mut self,
        name: &'a str,
        value: Value,
        assigns: bool,
    ) -> Result<(), String> {
        if !assigns {
            self.variables.push((name, value));
            return Ok(());
        }
        let slot = self
            .variables
            .iter_mut()
            .rev()
            .find(|(have, _)| *have == name);
        match slot {
            Some((_, have)) => *have = value,
            None => return Err(format!("undefined variable: {name}")),
        }
        Ok(())
    }

    pub(super) fn template(&mut self, call: &'a Call, dot: &Value) -> Result<(), String> {
        self.at = At::Call(call);
        let Some(list) = self.tree.named.get(&call.name) else {
            return Err(format!("template {:?} not defined", call.name));
        };
        if self.depth == MAX_DEPTH {
            return Err(format!("exceeded maximum template depth ({MAX_DEPTH})"));
        }
        let data = match &call.pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Nil,
        };
        self.depth += 1;
        let outside = std::mem::replace(&mut self.variables, vec![("$", data.clone())]);
        self.list(list, &data)?;
        self.variables = outside;
        self.depth -= 1;
        Ok(())
    }
}
