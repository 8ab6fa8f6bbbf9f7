"""Certificates as openssl makes them, for tests of what speaks TLS."""
import subprocess

CA_CONF = """
[ca]
default_ca = own
[own]
database = {folder}/index
new_certs_dir = {folder}
serial = {folder}/serial
default_md = sha256
policy = any
unique_subject = no
email_in_dn = no
rand_serial = yes
[any]
commonName = supplied
"""


class Authority:
    """Certificates as openssl makes them."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "index").write_text("", encoding="ascii")
        (folder / "conf").write_text(CA_CONF.format(folder=folder), encoding="ascii")
        for name in ("ca", "other-ca"):
            self.openssl("req", "-x509", *self.new_key(name), "-out", self.pem(name), "-days", "30",
                         "-subj", f"/CN={name}")
        self.issue("server", "DNS:localhost,IP:127.0.0.1,IP:::1")
        self.issue("alice", "email:alice@example.com")
        self.issue("mallory", "email:mallory@example.com", ca="other-ca")
        self.issue("a.example", "DNS:a.example,DNS:b.example")
        self.issue("expired", "DNS:localhost,IP:127.0.0.1", "20200101000000Z", "20200201000000Z")
        self.issue("future", "DNS:localhost,IP:127.0.0.1", "20900101000000Z", "20910201000000Z")
        self.openssl("req", "-x509", *self.new_key("self"), "-out", self.pem("self"), "-days", "30", "-subj",
                     "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")

    def openssl(self, *args):
        done = subprocess.run(["openssl", *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def pem(self, name):
        return self.folder / f"{name}.pem"

    def key(self, name):
        return self.folder / f"{name}.key"

    def new_key(self, name):
        return "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key(name)

    def issue(self, name, names, start="20200101000000Z", end="20900101000000Z", ca="ca"):
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\n", encoding="ascii")
        self.openssl("req", *self.new_key(name), "-out", request, "-subj", f"/CN={name}")
        self.openssl("ca", "-batch", "-config", self.folder / "conf", "-in", request, "-out", self.pem(name), "-notext",
                     "-cert", self.pem(ca), "-keyfile", self.key(ca), "-startdate", start, "-enddate", end,
                     "-extfile", extensions)

    def pair(self, name):
        return f"cert={self.pem(name)}&key={self.key(name)}"

    def pin(self, name):
        public = self.openssl("pkey", "-in", self.key(name), "-pubout", "-outform", "DER")
        done = subprocess.run(["openssl", "dgst", "-sha256", "-binary"], input=public, stdout=subprocess.PIPE,
                              check=True)
        return done.stdout
