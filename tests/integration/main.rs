//! The real agent against a real RabbitMQ: `make test`, or `tools/with-broker --private cargo test`.
//! One behaviour, one test; what can be said without processes and a broker is said in `src`.

mod attach;
mod budget;
mod cli;
mod completion;
mod crash;
mod docs;
mod exec;
mod fleet;
mod flood;
mod fork_server;
mod fuzz;
mod liars;
mod limits;
mod locate;
mod long_outage;
mod memory;
mod outage;
mod output;
mod reach;
mod reboot;
mod refuse;
mod run;
mod secrets;
mod sender;
mod stop;
mod storage;
mod support;
mod sysinfo;
mod tasks;
mod tls;
mod transfer;
mod triton;
mod upgrade;
mod whom;
mod wire;
