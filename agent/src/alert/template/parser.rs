//! Tokens to a tree, with the checks that Go makes before it runs a template
//! (`text/template/parse/parse.go`): functions exist, variables are declared, blocks are closed.

mod pipe;

use std::collections::BTreeMap;

use super::Problem;
use super::lexer::{self, Keyword, Kind, Token};
use super::literal;
use super::tree::{Branch, Call, List, Node, Place};

/// Deepest nesting of blocks and parentheses.
const MAX_DEPTH: usize = 100;

/// A template with those that it defines.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) main: List,
    pub(super) named: BTreeMap<String, List>,
}

/// Parses a template.
///
/// # Errors
/// With the line and what is wrong there, in Go's words.
pub(super) fn parse(source: &str) -> Result<Tree, Problem> {
    let mut parser = Parser {
        tokens: lexer::split(source)?,
        next: 0,
        variables: vec!["$".to_owned()],
        loops: 0,
        depth: 0,
        named: BTreeMap::new(),
    };
    let main = parser.file()?;
    Ok(Tree {
        main,
        named: parser.named,
    })
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    next: usize,
    variables: Vec<String>,
    loops: usize,
    depth: usize,
    named: BTreeMap<String, List>,
}

/// How a list of nodes ended.
enum End {
    End,
    Else,
}

/// A node, or the mark that ends the list it would belong to.
enum Item {
    Node(Node),
    End(End),
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token<'a> {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn peek_word(&mut self) -> Token<'a> {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
        self.peek()
    }

    fn take_word(&mut self) -> Token<'a> {
        self.peek_word();
        self.take()
    }

    fn problem(&self, message: impl Into<String>) -> Problem {
        let last = self.next.saturating_sub(1).min(self.tokens.len() - 1);
        Problem {
            line: self.tokens[last].line,
            message: message.into(),
        }
    }

    fn unexpected(&self, token: Token<'_>, context: &str) -> Problem {
        self.problem(format!("unexpected {} in {context}", shown(token)))
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Result<Token<'a>, Problem> {
        let token = self.take_word();
        if token.kind == kind {
            Ok(token)
        } else {
            Err(self.unexpected(token, context))
        }
    }

    fn deeper<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        if self.depth == MAX_DEPTH {
            return Err(self.problem("template is nested too deep"));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    fn file(&mut self) -> Result<List, Problem> {
        let mut list = List::new();
        while self.peek().kind != Kind::Eof {
            if self.peek().kind == Kind::LeftDelim {
                let start = self.next;
                self.take();
                if self.peek_word().kind == Kind::Keyword(Keyword::Define) {
                    self.take();
                    self.definition()?;
                    continue;
                }
                self.next = start;
            }
            match self.item()? {
                Item::Node(node) => list.push(node),
                Item::End(End::End) => return Err(self.problem("unexpected {{end}}")),
                Item::End(End::Else) => return Err(self.problem("unexpected {{else}}")),
            }
        }
        list.shrink_to_fit();
        Ok(list)
    }

    fn definition(&mut self) -> Result<(), Problem> {
        let name = self.string("define clause")?;
        self.expect(Kind::RightDelim, "define clause")?;
        self.named_body(name, "define clause")
    }

    /// The body of a template with a name; it sees no variable but `$`.
    fn named_body(&mut self, name: String, context: &str) -> Result<(), Problem> {
        let outside = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let (body, end) = self.list()?;
        self.variables = outside;
        self.loops = loops;
        if matches!(end, End::Else) {
            return Err(self.problem(format!("unexpected {{{{else}}}} in {context}")));
        }
        if is_empty(&body) && self.named.contains_key(&name) {
            return Ok(());
        }
        if self.named.get(&name).is_some_and(|have| !is_empty(have)) {
            return Err(self.problem(format!(
                "template: multiple definition of template {name:?}"
            )));
        }
        self.named.insert(name, body);
        Ok(())
    }

    fn string(&mut self, context: &str) -> Result<String, Problem> {
        let token = self.take_word();
        match token.kind {
            Kind::String | Kind::RawString => {
                literal::unquote(token.text).ok_or_else(|| self.problem("invalid syntax"))
            }
            _ => Err(self.unexpected(token, context)),
        }
    }

    fn list(&mut self) -> Result<(List, End), Problem> {
        let mut list = List::new();
        while self.peek_word().kind != Kind::Eof {
            match self.item()? {
                Item::Node(node) => list.push(node),
                Item::End(end) => {
                    list.shrink_to_fit();
                    return Ok((list, end));
                }
            }
        }
        self.take();
        Err(self.problem("unexpected EOF"))
    }

    fn item(&mut self) -> Result<Item, Problem> {
        let token = self.take_word();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(token.text.into()))),
            Kind::LeftDelim => self.deeper(Self::action),
            _ => Err(self.unexpected(token, "input")),
        }
    }

    fn action(&mut self) -> Result<Item, Problem> {
        let token = self.take_word();
        let Kind::Keyword(keyword) = token.kind else {
            self.next -= 1;
            return Ok(Item::Node(Node::Action(
                self.pipe("command", Kind::RightDelim)?,
            )));
        };
        Ok(Item::Node(match keyword {
            Keyword::End => {
                self.expect(Kind::RightDelim, "end")?;
                return Ok(Item::End(End::End));
            }
            Keyword::Else => {
                // `{{else if` is left to the branch that it belongs to.
                let next = self.peek_word().kind;
                if next != Kind::Keyword(Keyword::If) && next != Kind::Keyword(Keyword::With) {
                    self.expect(Kind::RightDelim, "else")?;
                }
                return Ok(Item::End(End::Else));
            }
            Keyword::If => Node::If(self.branch("if")?),
            Keyword::With => Node::With(self.branch("with")?),
            Keyword::Range => Node::Range(self.branch("range")?),
            Keyword::Template => self.call()?,
            Keyword::Block => self.block()?,
            Keyword::Break => self.leap("{{break}}", Node::Break)?,
            Keyword::Continue => self.leap("{{continue}}", Node::Continue)?,
            Keyword::Define | Keyword::Dot | Keyword::Nil => {
                self.next -= 1;
                Node::Action(self.pipe("command", Kind::RightDelim)?)
            }
        }))
    }

    fn leap(&mut self, name: &str, node: Node) -> Result<Node, Problem> {
        let token = self.take_word();
        if token.kind != Kind::RightDelim {
            return Err(self.unexpected(token, name));
        }
        if self.loops == 0 {
            return Err(self.problem(format!("{name} outside {{{{range}}}}")));
        }
        Ok(node)
    }

    fn call(&mut self) -> Result<Node, Problem> {
        let place = place(self.peek_word());
        let name = self.string("template clause")?;
        let pipe = if self.peek_word().kind == Kind::RightDelim {
            self.take();
            None
        } else {
            Some(self.pipe("template clause", Kind::RightDelim)?)
        };
        Ok(Node::Call(Call { place, name, pipe }))
    }

    fn block(&mut self) -> Result<Node, Problem> {
        let place = place(self.peek_word());
        let name = self.string("block clause")?;
        let pipe = self.pipe("block clause", Kind::RightDelim)?;
        self.named_body(name.clone(), "block clause")?;
        Ok(Node::Call(Call {
            place,
            name,
            pipe: Some(pipe),
        }))
    }

    fn branch(&mut self, context: &str) -> Result<Branch, Problem> {
        let scope = self.variables.len();
        let pipe = self.pipe(context, Kind::RightDelim)?;
        self.loops += usize::from(context == "range");
        let (body, end) = self.list()?;
        self.loops -= usize::from(context == "range");
        let otherwise = match end {
            End::End => List::new(),
            End::Else => self.otherwise(context)?,
        };
        self.variables.truncate(scope);
        Ok(Branch {
            pipe,
            body,
            otherwise,
        })
    }

    fn otherwise(&mut self, context: &str) -> Result<List, Problem> {
        // After a plain `{{else}}` comes text or the start of an action, never a word.
        if let Kind::Keyword(keyword @ (Keyword::If | Keyword::With)) = self.peek().kind {
            if (keyword == Keyword::If) != (context == "if") || context == "range" {
                let token = self.take();
                return Err(self.unexpected(token, "else"));
            }
            self.take();
            let branch = self.deeper(|parser| parser.branch(context))?;
            return Ok(vec![if context == "if" {
                Node::If(branch)
            } else {
                Node::With(branch)
            }]);
        }
        let (list, end) = self.list()?;
        match end {
            End::End => Ok(list),
            End::Else => Err(self.problem("expected end; found {{else}}")),
        }
    }
}

fn place(token: Token<'_>) -> Place {
    Place {
        at: token.at,
        line: token.line,
    }
}

fn starts_operand(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Bool
            | Kind::CharConstant
            | Kind::Field
            | Kind::Identifier
            | Kind::LeftParen
            | Kind::Number
            | Kind::RawString
            | Kind::String
            | Kind::Variable
            | Kind::Keyword(Keyword::Dot | Keyword::Nil)
    )
}

fn is_empty(list: &List) -> bool {
    list.iter()
        .all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
}

/// A token as Go's messages show it.
fn shown(token: Token<'_>) -> String {
    match token.kind {
        Kind::Eof => "EOF".to_owned(),
        Kind::Keyword(_) => format!("<{}>", token.text),
        _ if token.text.chars().count() > 10 => {
            let start: String = token.text.chars().take(10).collect();
            format!("{start:?}...")
        }
        _ => format!("{:?}", token.text),
    }
}
