//! Links between members that are processes of their own, as ractor's statics demand. Each member is this test binary once more,
//! told to be one.

mod bench;
mod certificates;
mod links;
mod loss;
mod member;
mod process;
mod strangers;
