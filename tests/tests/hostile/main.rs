//! scratch
use tollgate_host::sandbox::*;
#[test]
fn t() {
    let start = std::time::Instant::now();
    let sandbox = Sandbox::new(Settings { limits: Limits::default(), instances: Instances::OnDemand, compiler: Compiler::InProcess, cache: None }).unwrap();
    eprintln!("engine {:?}", start.elapsed());
    let start = std::time::Instant::now();
    let quota = tollgate_plugins::standard("quota").unwrap();
    let p = sandbox.load(quota, "{}");
    eprintln!("load {:?} {:?}", start.elapsed(), p.map(|p| p.admitted().clone()));
    eprintln!("{}", quota.len());
}
