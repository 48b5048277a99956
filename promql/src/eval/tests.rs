//! Tests of the evaluator: limits, and any expression on any data.
