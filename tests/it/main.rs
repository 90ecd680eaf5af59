//! One binary for all tests: those on the sources, and those against running servers.

mod walls;
mod durability;
mod stock_clients;
mod streams;
mod stopping;
mod restarts;
mod abuse;
mod api;
mod rooms;
mod rights;
mod damage;
mod copying;
mod cluster;
