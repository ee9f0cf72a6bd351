//! The smallest server of `git://`: one stream per conversation, as over SSH.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, PoisonError};

use git::{Protocol, Service, Transport};

use super::{Result, State};

/// Serves until the test's process ends.
pub(super) fn listen(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let state = Arc::clone(state);
        std::thread::spawn(move || {
            if let Err(e) = serve(&stream, &state) {
                eprintln!("test daemon: {e}");
            }
        });
    }
}

fn serve(stream: &TcpStream, state: &State) -> Result {
    let (mut input, mut out) = (stream, stream);
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = usize::from_str_radix(std::str::from_utf8(&length)?, 16)?;
    let mut request = vec![0; length - 4];
    input.read_exact(&mut request)?;
    let request = String::from_utf8(request)?;
    let mut words = request.split('\0');
    let (service, path) = words
        .next()
        .unwrap_or("")
        .split_once(' ')
        .ok_or("no path")?;
    let protocol = Protocol::from_header(words.find(|w| w.starts_with("version=")));
    let repo = state.repo(path.trim_start_matches('/'))?;
    let upload = state
        .upload
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let service = Service::from_name(service).ok_or("unknown service")?;
    git::advertise(
        &repo,
        service,
        protocol,
        Transport::Stream,
        &upload,
        &mut out,
    )?;
    match service {
        Service::UploadPack => {
            git::upload_pack(&repo, protocol, &mut input, &mut out, &upload)?;
        }
        Service::ReceivePack => {
            let mut limits = state
                .receive
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            limits.drain_bytes = 0;
            match git::receive_pack(&repo, &mut input, &limits, &mut |_| {}) {
                Ok(mut received) if !received.commands.is_empty() => {
                    received.commit()?;
                    received.write_report(&mut out, &["run 1 started".to_owned()])?;
                }
                Ok(_) => {}
                Err(e) => e.write_report(&mut out)?,
            }
        }
    }
    Ok(out.flush()?)
}
