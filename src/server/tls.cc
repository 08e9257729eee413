// SPDX-License-Identifier: Apache-2.0
#include "server/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <fstream>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

namespace takt::server {
namespace {

constexpr std::size_t kFileBytesMax = std::size_t{1} << 20;

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* object) const noexcept {
    kFree(object);
  }
};
using Bio = std::unique_ptr<BIO, Free<&BIO_free>>;
using X509Ptr = std::unique_ptr<X509, Free<&X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Free<&EVP_PKEY_free>>;

std::unexpected<Error> invalid(const char* which, const std::string& why) {
  ::ERR_clear_error();
  return fail(ErrorKind::invalid_input, std::string(which) + ": " + why);
}

Bio reader_of(const std::string& text) {
  return Bio(::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// OpenSSL would ask for it on the terminal.
int no_password(char* /*into*/, int /*size*/, int /*writing*/, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

std::vector<X509Ptr> certificates_of(const std::string& text) {
  std::vector<X509Ptr> all;
  const Bio reader = reader_of(text);
  bool asked = false;
  while (X509* const one = ::PEM_read_bio_X509(reader.get(), nullptr, &no_password, &asked)) {
    all.emplace_back(one);
  }
  ::ERR_clear_error();  // how the end is told
  return all;
}

Result<void> use_certificate(SSL_CTX& context, const std::string& text) {
  const std::vector<X509Ptr> chain = certificates_of(text);
  if (chain.empty()) {
    return invalid("certificate",
                   "holds no certificate; expected PEM (-----BEGIN CERTIFICATE-----)");
  }
  if (::SSL_CTX_use_certificate(&context, chain.front().get()) != 1) {
    return invalid("certificate",
                   "OpenSSL doesn't take it; expected a certificate with a key of 2048 bits RSA or "
                   "more, or of an elliptic curve");
  }
  for (std::size_t i = 1; i < chain.size(); ++i)
    ::SSL_CTX_add1_chain_cert(&context, chain[i].get());
  return {};
}

Result<void> use_key(SSL_CTX& context, const std::string& text) {
  const Bio reader = reader_of(text);
  bool asked = false;
  const KeyPtr key(::PEM_read_bio_PrivateKey(reader.get(), nullptr, &no_password, &asked));
  if (asked) {
    return invalid("key",
                   "is encrypted; expected one without a password: openssl pkey -in KEY -out "
                   "NEW, readable by takt alone");
  }
  if (key == nullptr) {
    return invalid("key", "holds no private key; expected PEM (-----BEGIN PRIVATE KEY-----)");
  }
  if (::SSL_CTX_use_PrivateKey(&context, key.get()) != 1 ||
      ::SSL_CTX_check_private_key(&context) != 1) {
    return invalid("key", "is not the key of the first certificate of `certificate`");
  }
  return {};
}

Result<void> ask_clients(SSL_CTX& context, const std::string& text) {
  const std::vector<X509Ptr> roots = certificates_of(text);
  if (roots.empty()) {
    return invalid("client_ca", "holds no certificate; expected those that sign clients', in PEM");
  }
  for (const X509Ptr& root : roots) {
    ::X509_STORE_add_cert(::SSL_CTX_get_cert_store(&context), root.get());
    ::SSL_CTX_add_client_CA(&context, root.get());  // so that clients know which to send
  }
  ::SSL_CTX_set_verify(&context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return {};
}

Result<std::string> read_file(const char* which, const std::filesystem::path& file) {
  std::error_code failure;
  const bool regular = std::filesystem::is_regular_file(file, failure);
  std::ifstream stream(file, std::ios::binary);
  if (!regular || !stream) {
    return invalid(which, file.string() + " can't be read; name a file in PEM that takt may read");
  }
  std::string text(kFileBytesMax + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(stream.gcount()));
  if (text.size() > kFileBytesMax) {
    return invalid(which, file.string() + " has more than 1 MiB; expected certificates in PEM");
  }
  return text;
}

}  // namespace

void TlsContextDeleter::operator()(ssl_ctx_st* context) const noexcept {
  ::SSL_CTX_free(context);
}

Result<TlsContext> make_tls_context(const TlsOptions& options) {
  TlsContext context(::SSL_CTX_new(::TLS_server_method()));
  if (context == nullptr) return invalid("tls", "OpenSSL has no memory for a context");
  ::SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  // A client could ask for one new handshake after the other, and a resumed session would skip the
  // check of its certificate.
  ::SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
  ::SSL_CTX_set_num_tickets(context.get(), 0);
  ::SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  if (auto used = use_certificate(*context, options.certificate); !used) {
    return std::unexpected(std::move(used).error());
  }
  if (auto used = use_key(*context, options.key); !used) {
    return std::unexpected(std::move(used).error());
  }
  if (options.client_ca.empty()) return context;
  if (auto asked = ask_clients(*context, options.client_ca); !asked) {
    return std::unexpected(std::move(asked).error());
  }
  return context;
}

Result<TlsOptions> load_tls(const TlsFiles& files) {
  TlsOptions options;
  const auto read = [](const char* which, const std::filesystem::path& file,
                       std::string& into) -> Result<void> {
    if (file.empty()) return {};
    Result<std::string> text = read_file(which, file);
    if (!text) return std::unexpected(std::move(text).error());
    into = std::move(*text);
    return {};
  };
  for (auto [which, file, into] :
       {std::tuple{"certificate", &files.certificate, &options.certificate},
        std::tuple{"key", &files.key, &options.key},
        std::tuple{"client_ca", &files.client_ca, &options.client_ca}}) {
    if (auto done = read(which, *file, *into); !done) return std::unexpected(done.error());
  }
  // A file that is there but empty must not switch the check of clients off.
  if (!files.client_ca.empty() && options.client_ca.empty()) {
    return invalid("client_ca", files.client_ca.string() + " is empty");
  }
  if (const auto made = make_tls_context(options); !made) return std::unexpected(made.error());
  return options;
}

}  // namespace takt::server
