//! Whom a stranger's URL may reach. Who names a destination has this service ask on its behalf, and must
//! not come by it to what only this service can reach.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{io, vec};

use futures_util::future::BoxFuture;
use hyper::Uri;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;
use url::{Host, Url};

/// How far messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Over `https` to public addresses.
    Internet,
    /// One's own network too, and `http`.
    OwnNetwork,
}

/// Why a URL is not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a URL.
    #[error("the url cannot be read: write `https://HOST/PATH`")]
    Unreadable,
    /// Another scheme, or `http` where it is not allowed.
    #[error("the url's scheme is not taken: write `https://…`")]
    Scheme,
    /// `https://NAME:PASSWORD@…`.
    #[error("the url holds a name or a password: leave out what stands before the `@`")]
    Credentials,
    /// Not an address that strangers may have this service ask.
    #[error("`{0}` is not at a public address: name a host that is")]
    Private(String),
}

/// What is to be found at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Public,
    /// One's own machine and network.
    Own,
    /// Nobody who waits for a notice: groups, examples, tunnels, and what clouds tell their machines.
    Never,
}

/// Addresses that begin with the same bits.
struct Range(u128, u32, Kind);

const fn v4(net: [u8; 4], bits: u32, kind: Kind) -> Range {
    let [a, b, c, d] = net;
    Range(Ipv4Addr::new(a, b, c, d).to_ipv6_mapped().to_bits(), 96 + bits, kind)
}

const fn v6(net: [u16; 8], bits: u32, kind: Kind) -> Range {
    let [a, b, c, d, e, f, g, h] = net;
    Range(Ipv6Addr::new(a, b, c, d, e, f, g, h).to_bits(), bits, kind)
}

/// All of them, the first that fits; what none fits is nobody's. After IANA's registries of
/// special-purpose addresses, and what clouds add to them.
const RANGES: [Range; 27] = [
    // Metadata of clouds, beside that in 169.254.0.0/16.
    v4([100, 100, 100, 200], 32, Kind::Never),
    v4([168, 63, 129, 16], 32, Kind::Never),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128, Kind::Never),
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128, Kind::Never),
    // One's own: among them behind a carrier's NAT, and this machine.
    v4([10, 0, 0, 0], 8, Kind::Own),
    v4([100, 64, 0, 0], 10, Kind::Own),
    v4([127, 0, 0, 0], 8, Kind::Own),
    v4([172, 16, 0, 0], 12, Kind::Own),
    v4([192, 168, 0, 0], 16, Kind::Own),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, Kind::Own),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, Kind::Own),
    // This network, link-local, protocols, 6to4's relays, benchmarks.
    v4([0, 0, 0, 0], 8, Kind::Never),
    v4([169, 254, 0, 0], 16, Kind::Never),
    v4([192, 0, 0, 0], 24, Kind::Never),
    v4([192, 88, 99, 0], 24, Kind::Never),
    v4([198, 18, 0, 0], 15, Kind::Never),
    // Documentation.
    v4([192, 0, 2, 0], 24, Kind::Never),
    v4([198, 51, 100, 0], 24, Kind::Never),
    v4([203, 0, 113, 0], 24, Kind::Never),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, Kind::Never),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, Kind::Never),
    // Multicast, reserved, broadcast.
    v4([224, 0, 0, 0], 4, Kind::Never),
    v4([240, 0, 0, 0], 4, Kind::Never),
    // Protocols, Teredo among them, and 6to4.
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, Kind::Never),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, Kind::Never),
    // What is left of IPv4, and of what was given out of IPv6.
    v4([0, 0, 0, 0], 0, Kind::Public),
    v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3, Kind::Public),
];

/// NAT64, in whose last 32 bits stands an address of IPv4: so hosts without IPv4 see all others.
const NAT64: u128 = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0).to_bits();

fn kind(address: IpAddr) -> Kind {
    let mapped = |v4: Ipv4Addr| v4.to_ipv6_mapped().to_bits();
    let bits = match address {
        IpAddr::V4(v4) => mapped(v4),
        IpAddr::V6(v6) if v6.to_bits() >> 32 == NAT64 >> 32 => {
            let [.., a, b, c, d] = v6.octets();
            mapped(Ipv4Addr::new(a, b, c, d))
        }
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let found = RANGES.iter().find(|Range(net, length, _)| (bits ^ net) >> (128 - length) == 0);
    found.map_or(Kind::Never, |Range(.., kind)| *kind)
}

impl Reach {
    /// Whether messages go to an address.
    pub fn takes(self, address: IpAddr) -> bool {
        match kind(address) {
            Kind::Public => true,
            Kind::Own => self == Self::OwnNetwork,
            Kind::Never => false,
        }
    }

    /// Reads a URL. An address in it is judged now, in whatever way it is written, a name when it is
    /// looked up.
    pub fn read(self, text: &str) -> Result<Uri, Refused> {
        let url = Url::parse(text).map_err(|_| Refused::Unreadable)?;
        match url.scheme() {
            "https" => {}
            "http" if self == Self::OwnNetwork => {}
            _ => return Err(Refused::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Credentials);
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err(Refused::Unreadable),
        };
        if address.is_some_and(|address| !self.takes(address)) {
            return Err(Refused::Private(url.host_str().unwrap_or_default().to_owned()));
        }
        // What was judged is what is asked: the text that the parser understood, not the one it read.
        url.as_str().parse().map_err(|_| Refused::Unreadable)
    }
}

/// Says at which addresses a name is.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// As the system knows names.
#[must_use]
pub fn system_lookup() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// Names for whoever connects, who connects to the very addresses that were judged: a name that is asked
/// for twice may be answered in two ways.
#[derive(Clone)]
pub struct Names {
    pub reach: Reach,
    pub lookup: Lookup,
}

impl Service<Name> for Names {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (reach, found) = (self.reach, (self.lookup)(name.as_str().to_owned()));
        Box::pin(async move {
            let found = found.await?;
            // One that is private tells of somebody who tries, or of a name for inside.
            if !found.iter().all(|address| reach.takes(*address)) {
                return Err(Refused::Private(name.as_str().to_owned()).into());
            }
            let found: Vec<_> = found.into_iter().map(|found| SocketAddr::new(found, 0)).collect();
            Ok(found.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// The first and the last address of each range, and their neighbours.
    #[test]
    fn each_address_is_of_its_kind() {
        use Kind::{Never, Own, Public};
        for (kind_of, addresses) in [
            (Never, "0.0.0.0 0.255.255.255 169.254.0.0 169.254.169.254 169.254.255.255"),
            (Never, "192.0.0.0 192.0.0.170 192.0.0.192 192.0.0.255 192.0.2.0 192.0.2.255"),
            (Never, "192.88.99.0 192.88.99.1 192.88.99.255 198.18.0.0 198.19.255.255"),
            (Never, "198.51.100.0 198.51.100.255 203.0.113.0 203.0.113.255"),
            (
                Never,
                "224.0.0.0 224.0.0.1 239.255.255.255 240.0.0.0 255.255.255.254 255.255.255.255",
            ),
            (Never, "100.100.100.200 168.63.129.16 fd00:ec2::254 fd20:ce::254"),
            (Own, "10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.0 127.0.0.1"),
            (Own, "127.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255"),
            (Own, "::1 fc00:: fd12:3456::1 fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            (Public, "1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0"),
            (Public, "126.255.255.255 128.0.0.0 168.63.129.15 168.63.129.17 169.253.255.255"),
            (Public, "169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.3.0"),
            (Public, "192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 198.17.255.255"),
            (Public, "198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0"),
            (Public, "223.255.255.255 2001:200:: 2001:4860:4860::8888 2003:: 2606:4700::1111"),
            (
                Public,
                "2001:db7:ffff:: 2001:db9:: 2a00:1450::200e 3ffe:ffff:: 3fff:1000:: 3fff:ffff::",
            ),
            // Unspecified, discarded, link-local, site-local, multicast.
            (Never, ":: ::2 100:: 100::1 100:0:0:1:: fe80:: fe80::1 febf:ffff:: fec0:: fec0::1"),
            (Never, "feff:ffff:: ff00:: ff02::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            (Never, "2001:db8:: 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff 3fff:: 3fff:fff:ffff::"),
            (Never, "4000:: 5f00:: 8000:: fbff:ffff:: fe00:: 1fff:ffff::"),
            // Teredo, ORCHID and benchmarks, 6to4, the other NAT64.
            (
                Never,
                "2001:: 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2:: 2001:10:: 2001:20::",
            ),
            (Never, "2001:1ff:ffff:: 2002:: 2002:808:808::1 2002:7f00:1:: 64:ff9b:1::808:808"),
            (Never, "64:ff9b:1::7f00:1 64:ff9b:0:1::808:808 64:ff9a::808:808"),
            // IPv4 in IPv6: compatible, mapped, translated.
            (Never, "::7f00:1 ::8.8.8.8 ::127.0.0.1 ::fffe:8.8.8.8 ::ffff:0:8.8.8.8"),
            (Never, "::ffff:0.0.0.0 ::ffff:169.254.169.254 64:ff9b::169.254.169.254 64:ff9b::"),
            (Own, "::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::127.0.0.1 64:ff9b::10.0.0.1"),
            (Public, "::ffff:8.8.8.8 64:ff9b::8.8.8.8"),
        ] {
            for address in addresses.split(' ') {
                let address: IpAddr = address.parse().unwrap();
                assert_eq!(kind(address), kind_of, "{address}");
                assert_eq!(Reach::Internet.takes(address), kind_of == Public, "{address}");
                assert_eq!(Reach::OwnNetwork.takes(address), kind_of != Never, "{address}");
            }
        }
    }

    fn private(host: &str) -> Result<Uri, Refused> {
        Err(Refused::Private(host.to_owned()))
    }

    #[test]
    fn addresses_are_known_in_whatever_way_they_are_written() {
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "017700000001",
            "0177.0.0.1",
            "127.0.0.1.",
            "1%32%37.0.0.1",
            "１２７.０.０.１",
            "①②⑦.0.0.1",
            "127。0。0。1",
        ] {
            for reach in [Reach::Internet, Reach::OwnNetwork] {
                let read = reach.read(&format!("https://{host}:8443/hook"));
                match reach {
                    Reach::Internet => assert_eq!(read, private("127.0.0.1"), "{host}"),
                    Reach::OwnNetwork => assert_eq!(read.unwrap().host(), Some("127.0.0.1")),
                }
            }
        }
        for (host, address) in [
            ("[::1]", "[::1]"),
            ("[0:0::0001]", "[::1]"),
            ("[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
            ("[::ffff:a9fe:a9fe]", "[::ffff:a9fe:a9fe]"),
            ("[64:ff9b::10.0.0.1]", "[64:ff9b::a00:1]"),
            ("0", "0.0.0.0"),
            ("2852039166", "169.254.169.254"),
            ("255.255.255.255", "255.255.255.255"),
        ] {
            let url = format!("https://{host}/");
            assert_eq!(Reach::Internet.read(&url), private(address), "{url}");
        }
        // What stands before the address is not the host.
        for url in ["https://8.8.8.8\\@127.0.0.1/", "https://a.example#@127.0.0.1/"] {
            let host = Reach::Internet.read(url).unwrap().host().unwrap().to_owned();
            assert!(host == "8.8.8.8" || host == "a.example", "{url}: {host}");
        }
    }

    #[test]
    fn a_url_is_https_and_holds_no_name() {
        for url in [
            "https://a.example",
            "https://a.example:8443/b?c=d",
            "https://8.8.8.8/",
            "HTTPS:a.example",
        ] {
            assert_eq!(Reach::Internet.read(url).unwrap().scheme_str(), Some("https"), "{url}");
        }
        for (url, refused) in [
            ("", Refused::Unreadable),
            ("a.example/b", Refused::Unreadable),
            ("https://", Refused::Unreadable),
            ("https://a b/", Refused::Unreadable),
            ("https://256.0.0.1/", Refused::Unreadable),
            ("https://[fe80::1%25eth0]/", Refused::Unreadable),
            ("https://a.example:99999/", Refused::Unreadable),
            ("file:///etc/passwd", Refused::Scheme),
            ("gopher://a.example/", Refused::Scheme),
            ("unix:/run/docker.sock", Refused::Scheme),
            ("https://ana@a.example/", Refused::Credentials),
            ("https://:pw@a.example/", Refused::Credentials),
            ("https://a.example@b.example/", Refused::Credentials),
        ] {
            for reach in [Reach::Internet, Reach::OwnNetwork] {
                assert_eq!(reach.read(url), Err(refused.clone()), "{url}");
            }
        }
        assert_eq!(Reach::Internet.read("http://a.example/"), Err(Refused::Scheme));
        assert!(Reach::OwnNetwork.read("http://a.example/").is_ok());
    }

    #[tokio::test]
    async fn a_name_counts_by_all_its_addresses_each_time() {
        let times = Arc::new(AtomicUsize::new(0));
        let lookup: Lookup = Arc::new(move |_| {
            let time = times.fetch_add(1, Ordering::Relaxed);
            let found = [&["8.8.8.8", "2606:4700::1111"][..], &["127.0.0.1"], &["8.8.8.8", "::1"]];
            let found = found[time].iter().map(|address| address.parse().unwrap()).collect();
            Box::pin(async { Ok(found) })
        });
        let mut names = Names { reach: Reach::Internet, lookup };
        let mut look = || names.call("a.example".parse().unwrap());
        let found: Vec<String> = look().await.unwrap().map(|found| found.to_string()).collect();
        assert_eq!(found, ["8.8.8.8:0", "[2606:4700::1111]:0"]);
        for _ in 0..2 {
            let refused = look().await.unwrap_err();
            let refused = refused.downcast_ref::<Refused>();
            assert_eq!(refused, Some(&Refused::Private("a.example".to_owned())));
        }
    }
}
