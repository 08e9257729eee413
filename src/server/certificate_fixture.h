// SPDX-License-Identifier: Apache-2.0
// For tests: keys and certificates, made anew, as PEM.
// Thread-safe: yes.
// Owns: plain values.
#pragma once

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

namespace takt::server {

// One that signs itself: good as a server's, a client's and as the authority of both.
class Certificate {
 public:
  explicit Certificate(const std::string& name) {
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> pair(EVP_EC_gen("P-256"),
                                                                   &EVP_PKEY_free);
    const std::unique_ptr<X509, decltype(&X509_free)> made(X509_new(), &X509_free);
    X509_set_version(made.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(made.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(made.get()), -3600);
    X509_gmtime_adj(X509_getm_notAfter(made.get()), 3600);
    X509_set_pubkey(made.get(), pair.get());
    X509_NAME* const subject = X509_get_subject_name(made.get());
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509_set_issuer_name(made.get(), subject);
    extend(*made, NID_subject_alt_name, "DNS:" + name);
    extend(*made, NID_basic_constraints, "critical,CA:TRUE");
    X509_sign(made.get(), pair.get(), EVP_sha256());
    const auto bio = new_bio();
    PEM_write_bio_X509(bio.get(), made.get());
    certificate = text_of(*bio);
    const auto key_bio = new_bio();
    PEM_write_bio_PrivateKey(key_bio.get(), pair.get(), nullptr, nullptr, 0, nullptr, nullptr);
    key = text_of(*key_bio);
  }

  // The key, to be read with a password only.
  [[nodiscard]] std::string encrypted_key(const std::string& password) const {
    const auto plain = new_bio();
    BIO_write(plain.get(), key.data(), static_cast<int>(key.size()));
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> pair(
        PEM_read_bio_PrivateKey(plain.get(), nullptr, nullptr, nullptr), &EVP_PKEY_free);
    const auto bio = new_bio();
    PEM_write_bio_PrivateKey(bio.get(), pair.get(), EVP_aes_256_cbc(),
                             reinterpret_cast<const unsigned char*>(password.c_str()),
                             static_cast<int>(password.size()), nullptr, nullptr);
    return text_of(*bio);
  }

  std::string certificate;
  std::string key;

 private:
  static std::unique_ptr<BIO, decltype(&BIO_free)> new_bio() {
    return {BIO_new(BIO_s_mem()), &BIO_free};
  }
  static std::string text_of(BIO& bio) {
    char* data = nullptr;
    const long bytes = BIO_get_mem_data(&bio, &data);
    return {data, static_cast<std::size_t>(bytes)};
  }
  static void extend(X509& made, int kind, const std::string& value) {
    X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, kind, value.c_str());
    X509_add_ext(&made, extension, -1);
    X509_EXTENSION_free(extension);
  }
};

}  // namespace takt::server
