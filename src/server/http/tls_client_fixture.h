// SPDX-License-Identifier: Apache-2.0
// For tests: HttpClient through TLS, and through what is nearly TLS.
// Thread-safe: no.
// Owns: its connection.
#pragma once

#include "server/certificate_fixture.h"
#include "server/http/http_fixture.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <memory>

namespace takt::server_test {

struct TlsClientOptions {
  const server::Certificate* own = nullptr;  // to show; null: none
  int version_max = 0;                       // such as TLS1_2_VERSION; 0: the newest
};

class TlsHttpClient final : public HttpClient {
 public:
  explicit TlsHttpClient(std::uint16_t port, const TlsClientOptions& options = {},
                         int receive_bytes = 0)
      : HttpClient(port, receive_bytes), context_(SSL_CTX_new(TLS_client_method()), &SSL_CTX_free) {
    SSL_CTX_set_security_level(context_.get(), 0);  // so that it offers what is too old
    if (options.version_max != 0) {
      SSL_CTX_set_min_proto_version(context_.get(), TLS1_VERSION);
      SSL_CTX_set_max_proto_version(context_.get(), options.version_max);
    }
    if (options.own != nullptr) show(*options.own);
    tls_.reset(SSL_new(context_.get()));
    SSL_set_fd(tls_.get(), socket());
  }

  bool shake_hands() { return SSL_connect(tls_.get()) == 1; }
  // Says that nothing more comes; false until the other side has said it as well.
  bool say_goodbye() { return SSL_shutdown(tls_.get()) == 1; }
  [[nodiscard]] bool was_told_goodbye() const {
    return (SSL_get_shutdown(tls_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
  }

 protected:
  ssize_t send_some(std::string_view bytes) override {
    return SSL_write(tls_.get(), bytes.data(), static_cast<int>(bytes.size()));
  }
  ssize_t receive_some(std::span<char> into) override {
    errno = 0;
    const int got = SSL_read(tls_.get(), into.data(), static_cast<int>(into.size()));
    ERR_clear_error();
    if (got > 0) return got;
    return errno == EAGAIN ? -1 : 0;  // ended, with a goodbye or without
  }

 private:
  void show(const server::Certificate& own) {
    const std::unique_ptr<BIO, decltype(&BIO_free)> both(BIO_new(BIO_s_mem()), &BIO_free);
    BIO_puts(both.get(), (own.certificate + own.key).c_str());
    X509* const certificate = PEM_read_bio_X509(both.get(), nullptr, nullptr, nullptr);
    EVP_PKEY* const key = PEM_read_bio_PrivateKey(both.get(), nullptr, nullptr, nullptr);
    SSL_CTX_use_certificate(context_.get(), certificate);
    SSL_CTX_use_PrivateKey(context_.get(), key);
    X509_free(certificate);
    EVP_PKEY_free(key);
  }

  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
  std::unique_ptr<SSL, decltype(&SSL_free)> tls_{nullptr, &SSL_free};
};

}  // namespace takt::server_test
