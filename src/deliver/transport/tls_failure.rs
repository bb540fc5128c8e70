//! Why a TLS handshake failed, explained to the owner of the webhook, with a fix. The text has no names from the
//! certificate: those are for the operator's log.

use std::borrow::Cow;
use std::io;

use jiff::Timestamp;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// Explains the error of a handshake.
pub(in crate::deliver) fn explain(error: &io::Error) -> Cow<'static, str> {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => explain_tls_error(error),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => {
                "it closed the connection during the TLS handshake: check that the port serves https and this host"
                    .into()
            }
            io::ErrorKind::InvalidInput => "its host is not a name that a certificate can be for".into(),
            _ => "the TLS handshake failed".into(),
        },
    }
}

fn explain_tls_error(error: &Error) -> Cow<'static, str> {
    match error {
        Error::InvalidCertificate(reason) => explain_certificate_error(reason),
        Error::NoCertificatesPresented => "it sends no certificate".into(),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::InvalidEmptyPayload,
        )
        | Error::PeerSentOversizedRecord => {
            "it answers without TLS: the port is for http or another protocol; use the https port".into()
        }
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => OLD_TLS.into(),
        Error::PeerIncompatible(_) => NO_COMMON_CIPHERS.into(),
        Error::AlertReceived(alert) => explain_alert(*alert),
        Error::NoApplicationProtocol => NO_HTTP.into(),
        Error::UnsupportedNameType => "its host is not a name that a certificate can be for".into(),
        Error::PeerMisbehaved(_)
        | Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::DecryptError => "it violates the protocol in the TLS handshake".into(),
        _ => "the TLS handshake failed".into(),
    }
}

const OLD_TLS: &str = "it supports neither TLS 1.2 nor TLS 1.3: enable one of them on the server";
const NO_COMMON_CIPHERS: &str = "it accepts none of the offered ciphers, key exchanges or signatures: enable the \
                                 usual ones of TLS 1.2 or 1.3 on the server, such as ECDHE with AES-GCM";
const NO_HTTP: &str = "it offers neither HTTP/2 nor HTTP/1.1 by ALPN";
const OTHER_NAME: &str = "its certificate is not for the URL's host: use a host name that the certificate has as a \
                          subject alternative name, or install a certificate for this one";
const BAD_SIGNATURE: &str = "its certificate, or one of its chain, is not signed with the key of the issuer it names: \
                             if a private authority was recreated, put the new one in the webhook's Tls.CaCertificates";
const OLD_SIGNATURE: &str = "the signature of its certificate is not accepted, for example because of SHA-1 or a short \
                             key: it needs a new one";

fn explain_certificate_error(reason: &CertificateError) -> Cow<'static, str> {
    match reason {
        CertificateError::UnknownIssuer => {
            "the issuer of its certificate is not known: for a private authority, put its certificate in the webhook's \
             Tls.CaCertificates (the operator can for all webhooks, with delivery.ca_file); for a public one, the \
             server does not send its intermediate certificate: configure it to send the whole chain"
                .into()
        }
        CertificateError::Expired => "its certificate has expired: renew it".into(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate has expired{}: renew it", time_text(not_after.as_secs())).into()
        }
        CertificateError::NotValidYet => "its certificate is not valid yet".into(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("its certificate is not valid yet: it is valid from{}", time_text(not_before.as_secs())).into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => OTHER_NAME.into(),
        CertificateError::Revoked => "its certificate was revoked: it needs a new one".into(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not for servers (extended key usage serverAuth)".into()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => OLD_SIGNATURE.into(),
        CertificateError::BadSignature => BAD_SIGNATURE.into(),
        CertificateError::Other(other) => match other.0.downcast_ref() {
            Some(webpki::Error::CaUsedAsEndEntity) => {
                "its certificate is that of an authority (CA:TRUE), as many self-signed ones are: create one for the \
                 server, signed by it, and put the authority's in the webhook's Tls.CaCertificates"
                    .into()
            }
            _ => "its certificate is refused".into(),
        },
        _ => "its certificate can't be read or is refused".into(),
    }
}

/// A second since 1970, as a time.
fn time_text(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(String::new, |time| format!(" {time}"))
}

fn explain_alert(alert: AlertDescription) -> Cow<'static, str> {
    match alert {
        AlertDescription::ProtocolVersion => OLD_TLS.into(),
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => format!(
            "it ended the TLS handshake (handshake_failure): {NO_COMMON_CIPHERS}; or it requires a client certificate: \
                     set the webhook's Tls.ClientCertificate"
        )
        .into(),
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "it requires a client certificate: set the webhook's Tls.ClientCertificate".into()
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => {
            "it does not accept the client certificate, or requires one: check the webhook's Tls.ClientCertificate"
                .into()
        }
        AlertDescription::UnrecognisedName => "it does not serve this host name".into(),
        AlertDescription::NoApplicationProtocol => NO_HTTP.into(),
        other => format!("it ended the TLS handshake with the alert {other:?}").into(),
    }
}
