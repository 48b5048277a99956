//! PromQL expressions as rules have them: the text, and what it parses to.

use promql_parser::parser::{self, Expr};

/// Longest expression.
const MAX_BYTES: usize = 64 << 10;

/// An expression that parses.
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
    tree: Expr,
}

impl Expression {
    /// Parses an expression.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("expression is longer than {MAX_BYTES} bytes"));
        }
        let tree = parser::parse(text)?;
        Ok(Self {
            text: text.to_owned(),
            tree,
        })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it parses to.
    pub fn tree(&self) -> &Expr {
        &self.tree
    }
}
