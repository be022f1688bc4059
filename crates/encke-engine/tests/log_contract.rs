//! The log engine keeps the contract.

mod beds;

encke_engine::contract_tests!(crate::beds::LogBed::new());
