//! Every bound in one place, with its reason. Bounds that an operator may move are defaults here
//! and settings in `config`; the others are fixed by the contract or by safety. They are
//! named without their part (`limits::TAGS_MAX`): the parts are for whoever reads.

mod api;
mod commands;
mod connections;
mod dapr;
mod embedded;
mod fleet;
mod ingress;
mod names;
mod peers;
mod process;
mod publish;
mod receive;
mod redis;
mod rooms;
mod telemetry;
mod typed;

pub use self::{
    api::*, commands::*, connections::*, dapr::*, embedded::*, fleet::*, ingress::*, names::*, peers::*,
    process::*, publish::*, receive::*, redis::*, rooms::*, telemetry::*, typed::*,
};
