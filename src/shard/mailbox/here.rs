//! The shard that this thread runs, if it runs one. Only the edges reach for it: everything below
//! them is handed its shard.

use crate::{core::time::Now, shard::Local};
use std::{cell::RefCell, rc::Rc};

thread_local! {
    static HERE: RefCell<Option<Rc<Local>>> = const { RefCell::new(None) };
}

pub(in crate::shard) fn set_here(local: Option<Rc<Local>>) {
    HERE.with(|here| *here.borrow_mut() = local);
}

pub(super) fn here(shard: u32) -> Option<Rc<Local>> {
    HERE.with(|here| here.borrow().as_ref().filter(|local| local.shard == shard).cloned())
}

/// For something that is done once on the shard that this thread runs, if it runs one.
pub(super) fn at_home<T>(what: impl FnOnce(&Rc<Local>) -> T) -> Option<T> {
    HERE.with(|here| here.borrow().as_ref().map(what))
}

/// The shard that this thread runs.
pub fn shard_here() -> Option<u32> {
    at_home(|local| local.shard)
}

/// The shard of this thread, for an edge that wants its clock.
pub fn now_here() -> Option<Now> {
    at_home(|local| local.now())
}
