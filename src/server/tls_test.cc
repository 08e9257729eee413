// SPDX-License-Identifier: Apache-2.0
#include "server/tls.h"

#include "server/certificate_fixture.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace takt::server {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string problem_of(const TlsOptions& options) {
  const auto made = make_tls_context(options);
  return made ? "none" : made.error().message;
}

TEST(Tls, TakesACertificateWithItsKey) {
  const Certificate own("localhost");
  const Certificate clients("clients");
  EXPECT_EQ(problem_of({own.certificate, own.key, ""}), "none");
  EXPECT_EQ(problem_of({own.certificate + clients.certificate, own.key, ""}), "none") << "a chain";
  EXPECT_EQ(problem_of({own.certificate, own.key, clients.certificate}), "none");
}

TEST(Tls, SaysWhichPartIsWrong) {
  const Certificate own("localhost");
  const Certificate other("other");
  EXPECT_THAT(problem_of({"", own.key, ""}), StartsWith("certificate: "));
  EXPECT_THAT(problem_of({own.key, own.key, ""}), StartsWith("certificate: "));
  EXPECT_THAT(problem_of({own.certificate, "", ""}), StartsWith("key: holds no private key"));
  EXPECT_THAT(problem_of({own.certificate, own.certificate, ""}), StartsWith("key: "));
  EXPECT_THAT(problem_of({own.certificate, other.key, ""}), HasSubstr("not the key of the first"));
  EXPECT_THAT(problem_of({own.certificate, own.key, "nothing"}), StartsWith("client_ca: "));
}

// OpenSSL would ask for it on the terminal, and wait.
TEST(Tls, AnEncryptedKeyIsRefusedWithoutAskingForItsPassword) {
  const Certificate own("localhost");
  EXPECT_THAT(problem_of({own.certificate, own.encrypted_key("secret"), ""}),
              StartsWith("key: is encrypted"));
}

class TlsFilesTest : public ::testing::Test {
 protected:
  TlsFilesTest() { std::filesystem::create_directory(folder_); }
  ~TlsFilesTest() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  static std::string problem_of(const TlsFiles& files) {
    const auto loaded = load_tls(files);
    return loaded ? "none" : loaded.error().message;
  }

  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("takt-tls-" + std::to_string(::getpid()));
  const Certificate own_{"localhost"};
};

TEST_F(TlsFilesTest, AreReadAsTheyAre) {
  const auto certificate = write("server.pem", own_.certificate);
  const auto key = write("server.key", own_.key);
  const auto loaded = load_tls({certificate, key, certificate});
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->certificate, own_.certificate);
  EXPECT_EQ(loaded->key, own_.key);
  EXPECT_EQ(loaded->client_ca, own_.certificate);
}

TEST_F(TlsFilesTest, OneThatIsNotThereIsNamed) {
  const auto certificate = write("server.pem", own_.certificate);
  const auto key = write("server.key", own_.key);
  const auto gone = folder_ / "gone.pem";
  EXPECT_THAT(problem_of({gone, key, {}}), StartsWith("certificate: " + gone.string()));
  EXPECT_THAT(problem_of({certificate, gone, {}}), StartsWith("key: " + gone.string()));
  EXPECT_THAT(problem_of({certificate, key, gone}), StartsWith("client_ca: " + gone.string()));
  EXPECT_THAT(problem_of({folder_, key, {}}), HasSubstr("can't be read"));
  EXPECT_THAT(problem_of({"/dev/zero", key, {}}), HasSubstr("can't be read"));
}

// It would leave clients unchecked.
TEST_F(TlsFilesTest, AnEmptyAuthorityOfClientsIsRefused) {
  const auto certificate = write("server.pem", own_.certificate);
  const auto key = write("server.key", own_.key);
  EXPECT_THAT(problem_of({certificate, key, write("ca.pem", "")}), StartsWith("client_ca: "));
}

TEST_F(TlsFilesTest, AHugeFileIsRefused) {
  const auto key = write("server.key", own_.key);
  const auto huge = write("huge.pem", std::string((1 << 20) + 1, 'x'));
  EXPECT_THAT(problem_of({huge, key, {}}), HasSubstr("more than 1 MiB"));
}

}  // namespace
}  // namespace takt::server
