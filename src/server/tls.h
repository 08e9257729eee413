// SPDX-License-Identifier: Apache-2.0
// TLS of the servers: certificates, and who is let in by them.
// Thread-safe: pure functions and plain values.
// Owns: plain values; a TlsContext OpenSSL's.
#pragma once

#include "core/result.h"

#include <filesystem>
#include <memory>
#include <string>

struct ssl_ctx_st;

namespace takt::server {

// Texts in PEM.
struct TlsOptions {
  std::string certificate;  // the server's, with what leads to its root
  std::string key;
  std::string client_ca;  // empty: clients need no certificate
};

struct TlsFiles {
  std::filesystem::path certificate;
  std::filesystem::path key;
  std::filesystem::path client_ca;  // empty: as above
};

struct TlsContextDeleter {
  void operator()(ssl_ctx_st* context) const noexcept;
};
using TlsContext = std::unique_ptr<ssl_ctx_st, TlsContextDeleter>;

// For servers: TLS 1.2 and 1.3. With a client_ca, a client without a certificate of it gets no
// connection. Errors: invalid_input, "certificate: ..." with what is wrong.
[[nodiscard]] Result<TlsContext> make_tls_context(const TlsOptions& options);

// Reads the files and checks that they make a context. Errors: invalid_input, "certificate: ..." with
// the file and what to do; for operators, not for clients.
[[nodiscard]] Result<TlsOptions> load_tls(const TlsFiles& files);

}  // namespace takt::server
