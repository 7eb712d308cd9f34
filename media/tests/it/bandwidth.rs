//! Estimates of what a path carries, against a path whose rate is known.

mod estimates;
mod flow;
mod pacing;
mod publishers;
mod receivers;
mod starts;
mod steps;
mod turns;
mod viewers;
