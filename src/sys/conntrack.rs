//! Connection tracking over netlink: forgetting the flows of a port. Numbers are those of
//! linux/netfilter/nfnetlink_conntrack.h.

use super::netlink::{Attributes, Batch, Refused, Socket, attribute};
use crate::error::{Errno, SysResult};
use rtnetlink::packet_core::NLM_F_DUMP;

const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8;
const CT_GET: u16 = SUBSYSTEM | 1;
const CT_DELETE: u16 = SUBSYSTEM | 2;

/// Forgets all flows of this IP protocol whose first packet went to one of these ports. UDP has no end of a
/// connection: without this a client that keeps sending stays with the container that was there before, or with
/// none (moby#8795).
pub fn forget(socket: &mut Socket, protocol: u8, ports: &[u16]) -> SysResult<()> {
    for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
        let header = [family, 0, 0, 0];
        let flows = match socket.ask(CT_GET, NLM_F_DUMP, &header) {
            // no conntrack in this kernel: nothing to forget
            Err(Refused { errno: Errno::EINVAL | Errno::EOPNOTSUPP, .. }) => return Ok(()),
            flows => flows.map_err(|e| e.named("IPCTNL_MSG_CT_GET"))?,
        };
        let mut batch = Batch::default();
        for flow in &flows {
            let Some(first) = original(&flow.body) else { continue };
            if first.protocol == protocol && ports.contains(&first.port) {
                let mut body = Attributes { bytes: header.to_vec() };
                body.add(CTA_TUPLE_ORIG | libc::NLA_F_NESTED as u16, first.tuple);
                batch.push(CT_DELETE, 0, &body.bytes);
            }
        }
        if !batch.is_empty() {
            batch.acknowledge();
            // a flow may end by itself in between
            socket.send(&batch, |_, errno| errno == Errno::ENOENT).map_err(|e| e.named("IPCTNL_MSG_CT_DELETE"))?;
        }
    }
    Ok(())
}

/// The first direction of a flow.
struct Original<'a> {
    /// CTA_TUPLE_ORIG as the kernel wants it back.
    tuple: &'a [u8],
    protocol: u8,
    port: u16,
}

const CTA_TUPLE_ORIG: u16 = 1;

fn original(flow: &[u8]) -> Option<Original<'_>> {
    const CTA_TUPLE_PROTO: u16 = 2;
    const CTA_PROTO_NUM: u16 = 1;
    const CTA_PROTO_DST_PORT: u16 = 3;
    let tuple = attribute(flow.get(4..)?, CTA_TUPLE_ORIG)?;
    let proto = attribute(tuple, CTA_TUPLE_PROTO)?;
    Some(Original {
        tuple,
        protocol: *attribute(proto, CTA_PROTO_NUM)?.first()?,
        port: u16::from_be_bytes(attribute(proto, CTA_PROTO_DST_PORT)?.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_that_of_the_first_packet() {
        let mut a = Attributes { bytes: vec![libc::AF_INET as u8, 0, 0, 0] };
        for (direction, port) in [(1, 53_u16), (2, 4000)] {
            a.nest(direction, |a| {
                a.nest(2, |a| {
                    a.add(1, &[17]).add(2, &[1, 1]).add(3, &port.to_be_bytes());
                });
            });
        }
        let tuple = original(&a.bytes).unwrap();
        assert_eq!((tuple.protocol, tuple.port), (17, 53));
        assert!(original(&a.bytes[..12]).is_none());
    }
}
