// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/sha256.h"

#include <openssl/evp.h>

#include <new>
#include <stdexcept>

namespace takt::cuda {
namespace {

EVP_MD_CTX* context_of(void* context) {
  return static_cast<EVP_MD_CTX*>(context);
}

// OpenSSL refuses only where memory is short, or where the system allows no SHA-256 at all.
void check(int done) {
  if (done != 1) throw std::runtime_error("OpenSSL computes no SHA-256 on this machine");
}

}  // namespace

void Sha256::Free::operator()(void* context) const noexcept {
  ::EVP_MD_CTX_free(context_of(context));
}

Sha256::Sha256() : context_(::EVP_MD_CTX_new()) {
  if (!context_) throw std::bad_alloc();
  check(::EVP_DigestInit_ex(context_of(context_.get()), ::EVP_sha256(), nullptr));
}

void Sha256::update(std::span<const std::byte> bytes) {
  check(::EVP_DigestUpdate(context_of(context_.get()), bytes.data(), bytes.size()));
}

Digest Sha256::finish() {
  Digest digest{};
  auto* const place = reinterpret_cast<unsigned char*>(digest.data());
  check(::EVP_DigestFinal_ex(context_of(context_.get()), place, nullptr));
  return digest;
}

Digest sha256(std::span<const std::byte> bytes) {
  Sha256 sum;
  sum.update(bytes);
  return sum.finish();
}

std::string to_hex(const Digest& digest) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : digest) {
    text += kDigits[std::to_integer<std::size_t>(byte >> 4)];
    text += kDigits[std::to_integer<std::size_t>(byte & std::byte{15})];
  }
  return text;
}

std::string sha256_hex(std::string_view text) {
  return to_hex(sha256(std::as_bytes(std::span(text))));
}

}  // namespace takt::cuda
