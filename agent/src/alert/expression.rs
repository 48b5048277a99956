//! PromQL expressions as rules have them: the text, and what it parses to.

use weir_promql::ast::Expr;
use weir_promql::parse;

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
    /// With line, column and what is wrong there.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tree = parse::parse(text).map_err(|why| why.to_string())?;
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
