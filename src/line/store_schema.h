// SPDX-License-Identifier: Apache-2.0
// The tables of the store and the steps from each earlier version of them.
// Thread-safe: on the connection's thread.
// Owns: nothing.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

namespace takt::line {

inline constexpr int kStoreSchemaVersion = 2;

// Makes the tables of an empty database, or brings older ones up to date with all their rows, in one transaction.
// Throws SQLite::Exception, and std::runtime_error for a database of a newer takt.
void bring_up_to_date(SQLite::Database& db);

}  // namespace takt::line
