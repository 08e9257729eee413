# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, made by the program openssl: an authority, and what it signs."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    certificate: Path
    key: Path


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def authority(folder, name):
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "2", "-subj", f"/CN={name}", "-keyout", made.key, "-out", made.certificate,
             "-addext", "keyUsage=critical,keyCertSign")
    return made


def signed(folder, name, by, use):
    """`use` is serverAuth or clientAuth; the names are those of this machine's loopback."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    request, extensions = folder / f"{name}.csr", folder / f"{name}.ext"
    extensions.write_text(f"subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage={use}\n")
    _openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-subj", f"/CN={name}", "-keyout", made.key, "-out", request)
    _openssl("x509", "-req", "-in", request, "-days", "2", "-CA", by.certificate, "-CAkey", by.key,
             "-set_serial", "1", "-extfile", extensions, "-out", made.certificate)
    return made


def client_context(authority_of_server, own=None):
    context = ssl.create_default_context(cafile=authority_of_server.certificate)
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context
