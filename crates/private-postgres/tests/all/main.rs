//! A private server started for real, from the machine's own PostgreSQL.

use private_postgres::{Auth, Options, PrivatePostgresError, Server, StopMode};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

async fn one(server: &Server) -> i32 {
    let client = server.connect("postgres").await.expect("connects");
    client.query_one("select 1", &[]).await.expect("answers").get(0)
}

#[tokio::test]
async fn server_starts_restarts_and_is_gone_when_dropped() {
    let mut server = Server::start(Options::default()).await.expect("starts");
    assert_eq!(one(&server).await, 1);
    let client = server.connect("postgres").await.expect("connects");
    let level: String = client.query_one("show wal_level", &[]).await.expect("answers").get(0);
    assert_eq!(level, "logical");
    let port = server.port();
    for mode in [StopMode::Fast, StopMode::Immediate] {
        server.restart(mode).await.expect("restarts");
        assert_eq!((one(&server).await, server.port()), (1, port));
    }
    server.kill().await.expect("is killed");
    server.restart(StopMode::Fast).await.expect("starts after a kill");
    assert_eq!(one(&server).await, 1);
    let dir = server.dir().to_owned();
    drop(server);
    assert!(!dir.exists(), "the temporary folder is removed");
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[tokio::test]
async fn named_folder_keeps_its_data_and_a_leftover_server_is_stopped() {
    let home = tempfile::tempdir().expect("a folder");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    let options = Options { dir: Some(home.path().join("pg")), ..Options::default() };
    let first = Server::start(options.clone()).await.expect("starts");
    first.execute("postgres", "create table kept (id int)").await.expect("makes a table");
    // The second start finds a server that nobody has stopped.
    let second = Server::start(options).await.expect("starts over a leftover");
    second.execute("postgres", "select * from kept").await.expect("the data is there");
    drop(first);
    drop(second);
    assert!(home.path().join("pg/data/PG_VERSION").exists(), "a named folder is never removed");
}

#[tokio::test]
async fn scram_refuses_a_wrong_password_and_takes_the_right_one() {
    let auth = Auth::Scram { password: "pä ss/w".into() };
    let server = Server::start(Options { auth, ..Options::default() }).await.expect("starts");
    assert_eq!(one(&server).await, 1);
    let url = server.url("postgres");
    assert!(url.contains("p%C3%A4%20ss%2Fw"), "{url}");
    let wrong = url.replace("p%C3%A4", "x");
    let error = tokio_postgres::connect(&wrong, tokio_postgres::NoTls).await.map(|_| ()).expect_err("is refused");
    assert_eq!(error.code().map(|code| code.code().to_owned()).as_deref(), Some("28P01"));
    assert!(!format!("{server:?}").contains("pä ss/w"), "Debug shows no password");
}

#[tokio::test]
async fn wrong_setting_is_reported_with_the_servers_own_words() {
    let error = Server::start(Options::default().set("no_such_setting_xyz", 1)).await.expect_err("is refused");
    assert!(matches!(error, PrivatePostgresError::Start { .. }), "{error}");
    assert!(error.to_string().contains("no_such_setting_xyz"), "{error}");
}

/// Child half of the next test: starts a server, prints its port and folder, and waits to be killed.
#[tokio::test]
#[ignore = "run by server_of_a_killed_owner_goes_with_it"]
async fn owner_that_waits_to_be_killed() {
    let server = Server::start(Options::default()).await.expect("starts");
    println!("\nserver {} {}", server.port(), server.dir().display());
    let _forever = std::io::stdin().read(&mut [0]);
}

#[test]
fn server_of_a_killed_owner_goes_with_it() {
    let mut owner = Command::new(std::env::current_exe().expect("own path"))
        .args(["owner_that_waits_to_be_killed", "--ignored", "--exact", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut lines = BufReader::new(owner.stdout.take().expect("piped")).lines();
    let line = lines.find_map(|line| line.ok().filter(|line| line.starts_with("server "))).expect("it starts");
    let mut words = line.split(' ').skip(1);
    let port: u16 = words.next().expect("port").parse().expect("number");
    let dir = std::path::PathBuf::from(words.next().expect("folder"));
    // A connection that the server itself closes is the event to wait on.
    let mut connection = std::net::TcpStream::connect(("127.0.0.1", port)).expect("is up");
    owner.kill().expect("SIGKILL");
    owner.wait().expect("is dead");
    let _closed = connection.read(&mut [0]);
    // The folder goes last; the guardian removes it within its own bound.
    let gone = (0..1200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        !dir.exists()
    });
    assert!(gone, "{} is still there", dir.display());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}
