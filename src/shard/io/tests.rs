use super::*;
use std::{sync::mpsc, thread};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    runtime::{Builder, Runtime},
};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// The thread that it began on may end: the next one's reactor wakes it.
#[test]
fn a_plain_socket_goes_from_thread_to_thread() {
    let (moving, arrives) = mpsc::sync_channel(1);
    let (address, listens) = mpsc::sync_channel(1);
    let first = thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            address.send(listener.local_addr().unwrap()).unwrap();
            let (mut tcp, _) = listener.accept().await.unwrap();
            // Known to this reactor by a read that had to wait.
            assert_eq!(tcp.read_u8().await.unwrap(), b'a');
            moving.send(Io::Plain(tcp).leave().unwrap()).unwrap();
        });
    });
    runtime().block_on(async {
        let mut client = TcpStream::connect(listens.recv().unwrap()).await.unwrap();
        client.write_all(b"a").await.unwrap();
        let mut io = arrives.recv().unwrap().arrive().unwrap();
        first.join().unwrap();
        assert!(!io.is_tls());
        let (read, written) = tokio::join!(io.read_u8(), client.write_all(b"b"));
        assert_eq!((read.unwrap(), written.unwrap()), (b'b', ()));
        assert_eq!(io.try_write(b"c").unwrap(), 1);
        assert_eq!(client.read_u8().await.unwrap(), b'c');
    });
}
