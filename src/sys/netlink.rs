//! Netlink: a plain blocking socket that takes a whole batch in one sendmsg(2), for the start path; and rtnetlink on a
//! current_thread runtime for cold listings. One vocabulary for both: rtnetlink's message types. Knows no container.

use super::named;
use crate::error::{Errno, SysError, SysResult};
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, setsockopt, sockopt};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkMessage, NlasIterator,
};
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::{LinkExtentMask, LinkMessage};
use rtnetlink::packet_route::neighbour::NeighbourMessage;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::{self as route, RouteNetlinkMessage};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

/// Several messages that leave in one sendmsg(2). The position of a message in the batch is its sequence number.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Batch {
    /// Number of messages.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Appends a message of this type; `flags` beyond NLM_F_REQUEST.
    pub fn push(&mut self, kind: u16, flags: u16, body: &[u8]) {
        let start = self.begin();
        let length = (HEADER + body.len()) as u32;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&(self.starts.len() as u32 - 1).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(body);
        debug_assert_eq!(self.bytes.len(), start + length as usize);
    }

    /// Appends one of rtnetlink's messages.
    pub fn push_route(&mut self, message: RouteNetlinkMessage, flags: u16) {
        let start = self.begin();
        let mut message = NetlinkMessage::from(message);
        message.header.flags = flags | NLM_F_REQUEST;
        message.header.sequence_number = self.starts.len() as u32 - 1;
        message.finalize();
        self.bytes.resize(start + message.buffer_len(), 0);
        message.serialize(&mut self.bytes[start..]);
    }

    /// Asks for an answer to the last message: the kernel works through a batch in order, so it speaks for all.
    pub fn acknowledge(&mut self) {
        if let Some(start) = self.starts.last() {
            let flags = u16::from_ne_bytes([self.bytes[start + 6], self.bytes[start + 7]]) | NLM_F_ACK;
            self.bytes[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
        }
    }

    fn begin(&mut self) -> usize {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.starts.push(self.bytes.len());
        self.bytes.len()
    }
}

/// The first message of a batch that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its position in the batch.
    pub index: usize,
    pub errno: Errno,
    /// What the kernel says beyond the errno (extended ack), often empty.
    pub text: String,
}

impl Refused {
    /// The error that shows the call; the kernel's own text stands behind it.
    pub fn named(self, call: impl Into<String>) -> SysError {
        let call = call.into();
        let call = if self.text.is_empty() { call } else { format!("{call} [{}]", self.text) };
        SysError { call, errno: self.errno }
    }
}

/// One message of an answer, without its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub kind: u16,
    pub body: Vec<u8>,
}

/// Length of struct nlmsghdr.
const HEADER: usize = 16;
/// The kernel fills at most this much per message of a dump (af_netlink.c, netlink_recvmsg).
const RECEIVE: usize = 32 << 10;

/// A blocking netlink socket in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

/// For who closes it elsewhere or later.
impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> OwnedFd {
        socket.fd
    }
}

impl Socket {
    /// Links, addresses, routes.
    pub fn route() -> SysResult<Socket> {
        Socket::open(SockProtocol::NetlinkRoute)
    }

    /// nf_tables and conntrack. Closing it waits, with the lock of all rules, as long as the kernel is freeing what
    /// somebody has just removed (nft_rcv_nl_event in nf_tables_api.c): 5 to 10 ms.
    pub fn netfilter() -> SysResult<Socket> {
        Socket::open(SockProtocol::NetlinkNetFilter)
    }

    fn open(protocol: SockProtocol) -> SysResult<Socket> {
        let call = || format!("socket(AF_NETLINK, SOCK_RAW, {protocol:?})");
        let fd = nix::sys::socket::socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol);
        let fd = named(fd, call)?;
        // the kernel's own words in errors, and no copy of our message in them (netlink(7))
        enable(&fd, libc::NETLINK_EXT_ACK)?;
        enable(&fd, libc::NETLINK_CAP_ACK)?;
        Ok(Socket { fd, buffer: vec![0; RECEIVE] })
    }

    /// Sends the batch and reads all answers. A refusal for which `tolerated(position, errno)` holds is none.
    /// rtnetlink goes on after a refused message; nf_tables takes all or nothing.
    pub fn send(&mut self, batch: &Batch, tolerated: impl Fn(usize, Errno) -> bool) -> Result<(), Refused> {
        let failed = |e: SysError| Refused { index: 0, errno: e.errno, text: e.call };
        self.transmit(&batch.bytes).map_err(failed)?;
        let mut first: Option<Refused> = None;
        let mut answered = false;
        self.drain(|message| {
            if let Some((errno, text)) = message.error() {
                let index = message.sequence as usize;
                if errno != 0 && !tolerated(index, Errno::from_raw(errno)) && first.is_none() {
                    first = Some(Refused { index, errno: Errno::from_raw(errno), text });
                }
                answered = true;
            }
        })
        .map_err(failed)?;
        match first {
            Some(refused) => Err(refused),
            None if answered => Ok(()),
            None => Err(Refused { index: 0, errno: Errno::EIO, text: "no answer".into() }),
        }
    }

    /// One question and all messages of its answer.
    pub fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<Vec<Reply>, Refused> {
        let mut batch = Batch::default();
        batch.push(kind, flags, body);
        self.ask_batch(&batch)
    }

    /// A question in rtnetlink's words.
    pub fn ask_route(&mut self, message: RouteNetlinkMessage, dump: Dump) -> Result<Vec<Reply>, Refused> {
        let mut batch = Batch::default();
        batch.push_route(message, dump.flags());
        self.ask_batch(&batch)
    }

    fn ask_batch(&mut self, batch: &Batch) -> Result<Vec<Reply>, Refused> {
        let failed = |e: SysError| Refused { index: 0, errno: e.errno, text: e.call };
        self.transmit(&batch.bytes).map_err(failed)?;
        let mut replies = Vec::new();
        let mut refused = None;
        self.drain(|message| match message.error() {
            Some((0, _)) => {}
            Some((errno, text)) => refused = Some(Refused { index: 0, errno: Errno::from_raw(errno), text }),
            None if message.kind == NLMSG_DONE => {}
            None => replies.push(Reply { kind: message.kind, body: message.body.to_vec() }),
        })
        .map_err(failed)?;
        refused.map_or(Ok(replies), Err)
    }

    fn transmit(&mut self, bytes: &[u8]) -> SysResult<()> {
        /// Below the default net.core.wmem_default of 208 KiB; a longer batch (ranges of ports) needs a larger buffer.
        const ROOMY: usize = 128 << 10;
        let call = || format!("sendmsg(netlink, {} bytes)", bytes.len());
        if bytes.len() > ROOMY {
            named(setsockopt(&self.fd, sockopt::SndBufForce, &(bytes.len() * 2)), call)?;
        }
        let kernel = NetlinkAddr::new(0, 0);
        named(nix::sys::socket::sendto(self.fd.as_raw_fd(), bytes, &kernel, MsgFlags::empty()), call).map(drop)
    }

    /// Reads until nothing is there. The kernel works inside sendmsg(2) and recvmsg(2) of the asking process
    /// (af_netlink.c, netlink_unicast_kernel and netlink_dump), so all answers are queued when the call returns.
    fn drain(&mut self, mut each: impl FnMut(&Message<'_>)) -> SysResult<()> {
        loop {
            match nix::sys::socket::recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => split(&self.buffer[..length], &mut each),
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return named(Err(errno), || "recvmsg(netlink)".into()),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether a question asks for one object or for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dump {
    One,
    All,
}

impl Dump {
    pub(crate) fn flags(self) -> u16 {
        match self {
            Dump::One => 0,
            Dump::All => NLM_F_DUMP,
        }
    }
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Message<'_> {
    /// The errno (0 for an ack) and the kernel's text, where this message is an NLMSG_ERROR.
    fn error(&self) -> Option<(i32, String)> {
        /// The text is an attribute behind errno and the header of our message (linux/netlink.h).
        const NLM_F_ACK_TLVS: u16 = 0x200;
        const NLMSGERR_ATTR_MSG: u16 = 1;
        if self.kind != NLMSG_ERROR || self.body.len() < 4 {
            return None;
        }
        let errno = -i32::from_ne_bytes([self.body[0], self.body[1], self.body[2], self.body[3]]);
        let mut text = String::new();
        if self.flags & NLM_F_ACK_TLVS != 0 && self.body.len() > 4 + HEADER {
            for attribute in NlasIterator::new(&self.body[4 + HEADER..]).flatten() {
                if attribute.kind() == NLMSGERR_ATTR_MSG {
                    text = String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned();
                }
            }
        }
        Some((errno, text))
    }
}

/// Cuts what one recvmsg(2) gave into its messages.
fn split(mut bytes: &[u8], each: &mut impl FnMut(&Message<'_>)) {
    while let Ok(header) = NetlinkBuffer::new_checked(&bytes) {
        let length = header.length() as usize;
        each(&Message {
            kind: header.message_type(),
            flags: header.flags(),
            sequence: header.sequence_number(),
            body: &bytes[HEADER..length],
        });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

fn enable(fd: &OwnedFd, option: libc::c_int) -> SysResult<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads four bytes from `on`, which lives for the whole call. (nix has no netlink options.)
    let done = unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), size_of_val(&on) as u32)
    };
    named(Errno::result(done), || format!("setsockopt(SOL_NETLINK, {option})")).map(drop)
}

/// Attributes as nfnetlink wants them: type, length, value, padded to four bytes; numbers in network order.
#[derive(Debug, Default)]
pub struct Attributes {
    pub bytes: Vec<u8>,
}

impl Attributes {
    pub fn add(&mut self, kind: u16, value: &[u8]) -> &mut Attributes {
        let start = self.begin(kind);
        self.bytes.extend_from_slice(value);
        self.end(start)
    }

    /// A string with its final NUL.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Attributes {
        let start = self.begin(kind);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.end(start)
    }

    pub fn number(&mut self, kind: u16, value: u32) -> &mut Attributes {
        self.add(kind, &value.to_be_bytes())
    }

    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes)) -> &mut Attributes {
        let start = self.begin(kind | libc::NLA_F_NESTED as u16);
        fill(self);
        self.end(start)
    }

    fn begin(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn end(&mut self, start: usize) -> &mut Attributes {
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }
}

/// The value of the first attribute of this kind.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    let found = NlasIterator::new(bytes).flatten().find(|a| a.kind() == kind)?;
    let length = usize::from(found.length());
    found.into_inner().get(4..length)
}

/// All links of this network namespace.
pub fn links() -> SysResult<Vec<LinkMessage>> {
    cold("RTM_GETLINK", |handle| collect(handle.link().get().execute()))
}

/// The ports of all bridges of this network namespace and the bridges themselves, with the VLANs that each is in
/// (AF_BRIDGE, RTEXT_FILTER_BRVLAN).
pub fn bridge_ports() -> SysResult<Vec<LinkMessage>> {
    let mask = vec![LinkExtentMask::Brvlan];
    cold("RTM_GETLINK(AF_BRIDGE)", |handle| {
        collect(handle.link().get().set_filter_mask(route::AddressFamily::Bridge, mask).execute())
    })
}

/// All addresses of this network namespace.
pub fn addresses() -> SysResult<Vec<AddressMessage>> {
    cold("RTM_GETADDR", |handle| collect(handle.address().get().execute()))
}

/// All routes of this network namespace, every table, both families.
pub fn routes() -> SysResult<Vec<RouteMessage>> {
    cold("RTM_GETROUTE", |handle| collect(handle.route().get(RouteMessage::default()).execute()))
}

/// All that is known of neighbours in this network namespace: their link addresses.
pub fn neighbours() -> SysResult<Vec<NeighbourMessage>> {
    cold("RTM_GETNEIGH", |handle| collect(handle.neighbours().get().execute()))
}

async fn collect<T>(
    stream: impl futures_util::Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Vec<T>, rtnetlink::Error> {
    use futures_util::StreamExt as _;
    let mut stream = std::pin::pin!(stream);
    let mut all = Vec::new();
    while let Some(item) = stream.next().await {
        all.push(item?);
    }
    Ok(all)
}

/// Runs one listing on a runtime of its own: no thread is started, and none is left.
fn cold<T, F: Future<Output = Result<T, rtnetlink::Error>>>(
    call: &str,
    list: impl FnOnce(rtnetlink::Handle) -> F,
) -> SysResult<T> {
    let runtime = super::named_io(tokio::runtime::Builder::new_current_thread().enable_io().build(), || call.into())?;
    runtime.block_on(async {
        let (connection, handle, _) = super::named_io(rtnetlink::new_connection(), || call.into())?;
        tokio::spawn(connection);
        let _kept = handle.clone(); // with the last handle the connection ends, and what was not sent yet is lost
        list(handle).await.map_err(|e| refused(call, &e))
    })
}

fn refused(call: &str, error: &rtnetlink::Error) -> SysError {
    let errno = match error {
        rtnetlink::Error::NetlinkError(message) => Errno::from_raw(-message.raw_code()),
        _ => Errno::EIO,
    };
    SysError { call: format!("{call} [{error}]"), errno }
}
