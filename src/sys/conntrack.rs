//! Connection tracking over netlink: forgetting the flows of a port. Numbers are those of
//! linux/netfilter/nfnetlink_conntrack.h.

use super::netlink::{Attributes, Batch, Refused, Socket, attribute};
use crate::error::{Errno, SysResult};
use rtnetlink::packet_core::NLM_F_DUMP;
use std::net::IpAddr;

const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8;
const CT_GET: u16 = SUBSYSTEM | 1;
const CT_DELETE: u16 = SUBSYSTEM | 2;

/// Forgets all flows of this IP protocol whose first packet went to one of these ports of the host, which has these
/// addresses. UDP has no end of a connection: without this a client that keeps sending stays with the container that was
/// there before, or with none (moby#8795). A flow to somebody else's port of this number is none of ours.
pub fn forget(socket: &mut Socket, protocol: u8, ports: &[u16], own: &[IpAddr]) -> SysResult<()> {
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
            let to_host = first.to.is_loopback() || own.contains(&first.to);
            if first.protocol == protocol && ports.contains(&first.port) && to_host {
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
    /// Where its first packet went.
    to: IpAddr,
    port: u16,
}

const CTA_TUPLE_ORIG: u16 = 1;

fn original(flow: &[u8]) -> Option<Original<'_>> {
    const CTA_TUPLE_IP: u16 = 1;
    const CTA_IP_V4_DST: u16 = 2;
    const CTA_IP_V6_DST: u16 = 4;
    const CTA_TUPLE_PROTO: u16 = 2;
    const CTA_PROTO_NUM: u16 = 1;
    const CTA_PROTO_DST_PORT: u16 = 3;
    let tuple = attribute(flow.get(4..)?, CTA_TUPLE_ORIG)?;
    let (ip, proto) = (attribute(tuple, CTA_TUPLE_IP)?, attribute(tuple, CTA_TUPLE_PROTO)?);
    let v4 = || Some(<[u8; 4]>::try_from(attribute(ip, CTA_IP_V4_DST)?).ok()?.into());
    let v6 = || Some(<[u8; 16]>::try_from(attribute(ip, CTA_IP_V6_DST)?).ok()?.into());
    Some(Original {
        tuple,
        protocol: *attribute(proto, CTA_PROTO_NUM)?.first()?,
        to: v4().or_else(v6)?,
        port: u16::from_be_bytes(attribute(proto, CTA_PROTO_DST_PORT)?.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_that_of_the_first_packet() {
        let mut a = Attributes { bytes: vec![libc::AF_INET as u8, 0, 0, 0] };
        for (direction, to, port) in [(1, [192, 0, 2, 1], 53_u16), (2, [192, 0, 2, 2], 4000)] {
            a.nest(direction, |a| {
                a.nest(1, |a| {
                    a.add(1, &[192, 0, 2, 2]).add(2, &to);
                });
                a.nest(2, |a| {
                    a.add(1, &[17]).add(2, &[1, 1]).add(3, &port.to_be_bytes());
                });
            });
        }
        let tuple = original(&a.bytes).unwrap();
        assert_eq!((tuple.protocol, tuple.to, tuple.port), (17, IpAddr::from([192, 0, 2, 1]), 53));
        assert!(original(&a.bytes[..12]).is_none());
    }
}
