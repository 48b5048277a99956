//! Pipelines: commands with their arguments.

use super::{Parser, place, starts_operand};
use crate::alert::template::lexer::{Keyword, Kind};
use crate::alert::template::tree::{Command, Expr, Pipe};
use crate::alert::template::{Problem, function, literal};

impl Parser<'_> {
    pub(super) fn pipe(&mut self, context: &str, end: Kind) -> Result<Pipe, Problem> {
        let mut pipe = Pipe {
            place: place(self.peek_word()),
            variables: Vec::new(),
            assigns: false,
            commands: Vec::new(),
        };
        self.declarations(context, &mut pipe)?;
        loop {
            let token = self.take_word();
            match token.kind {
                kind if kind == end => break,
                kind if starts_operand(kind) => {
                    self.next -= 1;
                    pipe.commands.push(self.command()?);
                }
                _ => return Err(self.unexpected(token, context)),
            }
        }
        if pipe.commands.is_empty() {
            return Err(self.problem(format!("missing value for {context}")));
        }
        // Rules are many and live long, and most lists have one element.
        pipe.commands.shrink_to_fit();
        pipe.variables.shrink_to_fit();
        for (index, command) in pipe.commands.iter().enumerate().skip(1) {
            if let Expr::Bool(..)
            | Expr::Dot(_)
            | Expr::Nil(_)
            | Expr::Number(..)
            | Expr::Text(..) = command.words[0]
            {
                let stage = index + 1;
                return Err(
                    self.problem(format!("non executable command in pipeline stage {stage}"))
                );
            }
        }
        Ok(pipe)
    }

    /// `$x :=`, `$x =` and, of a range, `$i, $x :=`.
    fn declarations(&mut self, context: &str, pipe: &mut Pipe) -> Result<(), Problem> {
        while self.peek_word().kind == Kind::Variable {
            let start = self.next;
            let name = self.take().text;
            let next = self.peek_word();
            match next.kind {
                Kind::Assign | Kind::Declare => {
                    self.take();
                    pipe.assigns = next.kind == Kind::Assign;
                    self.declare(name, pipe);
                    return Ok(());
                }
                Kind::Char if next.text == "," => {
                    self.take();
                    self.declare(name, pipe);
                    if context != "range" || pipe.variables.len() >= 2 {
                        return Err(self.problem(format!("too many declarations in {context}")));
                    }
                    let after = self.peek_word().kind;
                    if !matches!(after, Kind::Variable | Kind::RightDelim | Kind::RightParen) {
                        return Err(self.problem("range can only initialize variables"));
                    }
                }
                _ => {
                    self.next = start;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn declare(&mut self, name: &str, pipe: &mut Pipe) {
        pipe.variables.push(name.to_owned());
        self.variables.push(name.to_owned());
    }

    fn command(&mut self) -> Result<Command, Problem> {
        let mut words = Vec::new();
        let place = place(self.peek_word());
        loop {
            self.peek_word();
            if let Some(word) = self.operand()? {
                words.push(word);
            }
            let token = self.take();
            match token.kind {
                Kind::Space => {}
                Kind::RightDelim | Kind::RightParen => {
                    self.next -= 1;
                    break;
                }
                Kind::Pipe => break,
                _ => return Err(self.unexpected(token, "operand")),
            }
        }
        if words.is_empty() {
            return Err(self.problem("empty command"));
        }
        words.shrink_to_fit();
        Ok(Command { place, words })
    }

    /// A term with the fields that follow it without a space.
    fn operand(&mut self) -> Result<Option<Expr>, Problem> {
        let Some(term) = self.term()? else {
            return Ok(None);
        };
        // Go puts a chain where its first field stands.
        let start = place(self.peek());
        let mut names = Vec::new();
        while self.peek().kind == Kind::Field {
            names.push(self.take().text[1..].to_owned());
        }
        if names.is_empty() {
            return Ok(Some(term));
        }
        Ok(Some(match term {
            Expr::Field(_, mut path) => {
                path.extend(names);
                Expr::Field(start, path)
            }
            Expr::Variable(_, name, mut path) => {
                path.extend(names);
                Expr::Variable(start, name, path)
            }
            Expr::Function(..) | Expr::Pipe(_) | Expr::Chain(..) => {
                Expr::Chain(start, Box::new(term), names)
            }
            Expr::Dot(_) | Expr::Nil(_) | Expr::Bool(..) | Expr::Number(..) | Expr::Text(..) => {
                return Err(self.problem(format!("unexpected . after term {:?}", term.to_string())));
            }
        }))
    }

    fn term(&mut self) -> Result<Option<Expr>, Problem> {
        let token = self.take_word();
        let (at, text) = (place(token), token.text);
        Ok(Some(match token.kind {
            Kind::Identifier if function::exists(text) => Expr::Function(at, text.to_owned()),
            Kind::Identifier => {
                return Err(self.problem(format!("function {text:?} not defined")));
            }
            Kind::Keyword(Keyword::Dot) => Expr::Dot(at),
            Kind::Keyword(Keyword::Nil) => Expr::Nil(at),
            Kind::Variable if self.variables.iter().any(|name| name == text) => {
                Expr::Variable(at, text.to_owned(), Vec::new())
            }
            Kind::Variable => return Err(self.problem(format!("undefined variable {text:?}"))),
            Kind::Field => Expr::Field(at, vec![text[1..].to_owned()]),
            Kind::Bool => Expr::Bool(at, text == "true"),
            Kind::CharConstant | Kind::Number => match literal::number(text) {
                Some(number) => Expr::Number(at, number, text.to_owned()),
                None => return Err(self.problem(format!("illegal number syntax: {text:?}"))),
            },
            Kind::LeftParen => {
                Expr::Pipe(Box::new(self.deeper(|parser| {
                    parser.pipe("parenthesized pipeline", Kind::RightParen)
                })?))
            }
            Kind::String | Kind::RawString => match literal::unquote(text) {
                Some(value) => Expr::Text(at, value.into(), text.to_owned()),
                None => return Err(self.problem("invalid syntax")),
            },
            _ => {
                self.next -= 1;
                return Ok(None);
            }
        }))
    }
}
