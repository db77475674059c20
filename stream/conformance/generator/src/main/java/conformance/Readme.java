package conformance;

import java.util.List;
import java.util.stream.Collectors;

/** The README that is written beside the vectors; the scenario list is made from the scenarios themselves. */
final class Readme {
    static String text(List<Sc> all) {
        StringBuilder b = new StringBuilder(HEAD.replace("%COUNT%", String.valueOf(all.size())));
        String family = "";
        for (Sc s : all) {
            if (!s.family.equals(family)) {
                family = s.family;
                b.append("\n### ").append(family).append("\n\n");
            }
            b.append("- **").append(s.name).append("** — ").append(s.desc).append("\n  In: ")
                .append(s.srcs.stream().map(x -> "`" + x.topic + "`").collect(Collectors.joining(", "))).append(". Out: ")
                .append(s.outs.stream().map(x -> "`" + x + "`").collect(Collectors.joining(", "))).append('.');
            if (!s.stores.isEmpty())
                b.append(" Stores: ").append(s.stores.entrySet().stream().map(e -> "`" + e.getKey() + "` (" + type(e.getValue()) + ")")
                    .collect(Collectors.joining(", "))).append('.');
            b.append('\n');
        }
        return b.toString();
    }

    static String type(Sc.Kind k) {
        return switch (k) {
            case KV -> "kv";
            case TSKV -> "kv+ts";
            case WINDOW -> "window";
            case TSWINDOW -> "window+ts";
            case SESSION -> "session";
            case VERSIONED -> "versioned";
        };
    }

    private static final String HEAD = """
        # Conformance vectors for the stream DSL

        These are vectors made by running Apache Kafka Streams 4.3.1's own TopologyTestDriver on seeded random inputs.
        Each file holds one topology (a "scenario", %COUNT% of them), a list of inputs, and exactly what Kafka Streams answered
        after each input. To check another implementation of the DSL: build the scenario's topology from its description below, pipe
        each input, and compare the records that come out of the observed topics, in order, before going to the next input; at the
        end compare the stores. Nothing here depends on a programming language: all keys and values are strings.

        ## Files

        `SCENARIO-SEED.json`, one per scenario and seed; `topologies.json` (see the end of "Format"); this README. More seeds: `stream/conformance/generator/run OUT 1-200` (needs a JDK and Maven).

        ## Format

        A scenario file is one JSON object, written with one step per line:

        - `scenario`, `seed`: the name and the seed. The seed only tells files apart: nothing is drawn when a file is replayed.
        - `description`: the same sentence as in the list below.
        - `events`: the steps, in order. A step is one of
          - `{"in": TOPIC, "k": KEY, "v": VALUE, "ts": MS, "headers": [[NAME, VALUE], ...], "out": [...]}` — pipe one record into an
            input topic. `k` and `v` are strings or null, `ts` is the record timestamp in milliseconds. `headers` is left out when
            there are none; their order counts, and a name may occur twice.
          - `{"advanceWallClock": MS, "out": [...]}` — move the wall clock forward by that many milliseconds, which may run
            wall-clock punctuators.

          `out` is the list of all records produced to the observed topics by this step, after everything that the step sets off has
          come to rest: `{"out": TOPIC, "k": KEY, "v": VALUE, "ts": MS, "headers": [...]}`, with `headers` left out when there are
          none. **Within one topic the order is exact.** Where a scenario has several observed topics the records are listed topic by
          topic, in the order in which the scenario names its topics under "Out"; the order between different topics isn't recorded.
          An empty list means that nothing came out.
        - `stores`: the contents of the scenario's named stores after the last step, as `NAME: {"type": TYPE, "rows": [...]}`. Rows are
          sorted by key (the order of the strings' characters), then by the numbers that follow. By type:
          - `kv`: `[key, value]`
          - `kv+ts`: `[key, value, timestamp]` — every key-value store that the DSL makes keeps a timestamp with each value
          - `window`: `[key, window start, window end, value]`
          - `window+ts`: `[key, window start, window end, value, timestamp]`
          - `session`: `[key, session start, session end, value]`
          - `versioned`: `[key, value, timestamp]` — for each key that occurs in the inputs, the distinct answers of get(key) and of
            get(key, as of t) for every timestamp t that occurs in the inputs; answers of "nothing" are left out.

        `topologies.json` is a list of `{"name", "program", "optimization", "description"}`: `description` is the text of Kafka Streams'
        TopologyDescription for the small DSL program in `program` (with `topology.optimization` set as in `optimization`). It is there
        for whoever wants the same node names, store names, internal topic names and split into sub-topologies. In these programs f, m,
        p1, j, a and so on stand for any function; a call's operators are added from left to right, and `x = ...;` in the order written.

        ## Settings common to all scenarios

        - Keys and values are UTF-8 strings everywhere. Counts are 64-bit integers inside, shown as decimal strings.
        - Every topic has one partition. Record caching is off (`statestore.cache.max.bytes` = 0), so every update is forwarded.
          No topology optimisation. No processing guarantees come into play.
        - Default stores are persistent; unless a description says otherwise, a store's retention is the smallest that its operator needs:
          window size + grace for time windows, 2 × time difference + grace for sliding windows, gap + grace for sessions, and
          before + after + grace for each of the two stores of a stream-stream join. A store with retention r doesn't show an entry whose
          time (window start, session end) is <= the highest such time written to that store - r; the highest over all keys.
        - One step is processed to the end before the next one begins: what goes to a repartition topic, to a foreign-key join's internal
          topic or to a topic that the same topology reads is fed back and processed within the same step.
        - The wall clock stands at 0 at the start and moves only in `advanceWallClock` steps.
        - Stream time is the highest timestamp seen so far; it starts out unknown. Input timestamps are never negative.
        - Operators are added to a topology in the order in which the description names them, and the arguments of an operator before the
          operator itself. A node forwards a record to its children in the order in which they were added.
        - Errors: unless a scenario says otherwise nothing fails in its inputs.

        ### Emit interval

        Two operators of Kafka Streams look for results that have become due only if a certain *wall-clock* interval has gone by since they
        last looked: left and outer stream-stream joins (for records that found no partner) and windowed aggregations that emit on window
        close. The interval is 1000 ms by default; **in these vectors it is 0**, so that they may look at every record. Only the scenarios
        whose names end in `_throttled` have the default of 1000 ms: a look is skipped while the wall clock is below a mark, and each
        look sets the mark to the wall clock + 1000 ms. The mark starts at 0. An aggregation looks at every record with a non-null key;
        when a join looks is told under "Stream-stream results without a partner".

        ## Names used in the descriptions

        - The default input topic is `input` and the default output topic `output`. "Materialised as `x`" gives a store its name.
          "Not materialised" or "no store name" means that the program asks for no store; the implementation decides whether it needs one,
          and that decision can be seen (see "Easy to miss").
        - TEXT(x): the string x, or the four letters `null` if x is null.
        - BUCKET(v): `"g"` followed by (the number v) mod 3, so `g0`, `g1` or `g2`; null if v is null.
        - INIT: the initializer, which returns the string `0`.
        - ADD: the aggregator (key, value, agg) to agg + `"+"` + TEXT(value). SUB: the same with `"-"`. "agg + "*" + value" and the like in
          cogroup scenarios are the same function with another sign.
        - MERGE: the session merger (key, a, b) to `"("` + a + `"|"` + b + `")"`.
        - CONCAT: the reducer (a, b) to a + `"+"` + b, where a is the old value. MINUS: the same with `"-"`.
        - PAIR: the value joiner (left, right) to TEXT(left) + `","` + TEXT(right).
        - "even numbers", "divisible by" and so on: the value is read as a decimal number.
        - WKEY(w): a windowed key as text, `KEY@START/END`, e.g. `a@50/100`. END is start + size for time windows, start + time difference
          for sliding windows, the timestamp of the session's last record for sessions, and 9223372036854775807 for unlimited windows.
        - OUT (of a table): toStream, then mapValues(null stays null, anything else to its text), then to topic `output` (or the topic named).
        - WOUT (of a windowed table): toStream with the key mapper WKEY, then the same mapValues, then to topic `output`.
        - "window before B ms, after A ms, grace G ms" of a stream-stream join: a left record with timestamp t matches right records with
          timestamps from t - B to t + A, both included.
        - "unbounded buffer": no limit on suppressed records.

        ## How the inputs were drawn

        Most files have 45 to 105 steps over 2 to 6 keys. Timestamps rise by small random steps; 15% of the records repeat the newest
        timestamp, about 25 to 35% are older than it (cut off at 0, so that there are many zeros near the start of a file), and now and then
        time leaps ahead. Some keys and some values are null. Where values aren't random numbers they are numbered by step, with
        a letter for the topic (`L7`, `R12`), so that it can be seen which record is in a result. Scenarios whose results wait for
        time to pass end with one record per input topic (key: the first key of that topic) far in the future.
        All timestamps of a file lie within one minute.

        ## Stream-stream results without a partner

        These rules reproduce the left and outer joins of two streams step by step. B, A and G are the window's before, after and grace; the *reach* of a
        record is A for a left and B for a right record. Stream time is the highest timestamp of all records on both sides (also of
        those with a null key or value).

        - A record with a null key and a non-null value on a joining side (left side of a left join, both sides of an outer join) gives
          its result with `null` at once. Other records with a null key or a null value do nothing more.
        - Each side stores its records with non-null key and value. A stored record with timestamp t is found as long as
          t > (highest timestamp stored on that side) - (B + A + G). This, and not the grace, is what ends inner matches.
        - A record's partners are taken in timestamp order, and in order of arrival for equal timestamps; each result has the
          higher of the two timestamps.
        - If a record on a joining side finds no partner: when max(0, t + reach) < stream time its result with `null` goes out at once,
          otherwise the record is put on a waiting list. It is stored in both cases, so that a later partner still gives a pair.
        - When a pair is made, all waiting records with the partner's side, key and timestamp leave the list.
        - Before a record with non-null key and value looks for its partners, and only if its timestamp equals stream time (it is the newest),
          the join looks through the waiting list — unless M + reach + G >= stream time, where reach is that of the record being
          processed and M is a remembered minimum. M is infinity at first (then the join does look), and when a record is put on the list M
          becomes the lower of M and its timestamp.
        - A look reads the list sorted by timestamp, then right side before left side, then key. For each waiting record that it
          reads, M becomes that record's timestamp (infinity if the list is empty). If waiting records of both sides were found
          still open, it stops; otherwise, if t + reach + G >= stream time for that waiting record it is still open and stays, else
          its result goes out, with its own timestamp, and it leaves the list.

        So M can be later than the oldest waiting record, and a result may come out some steps after its window closed. An implementation
        that sends such results at the first possible moment gives nearly the same results, some of them earlier; whoever wants to
        allow for that can compare the results that contain `null` separately.

        ## Sliding windows

        These rules reproduce the sliding-window aggregations step by step. A window [s, s + d] includes both ends; d is the time difference,
        G the grace. Records with a null key or value are skipped. Let T be the highest timestamp of the input stream's records that were
        not skipped, this one included, and C = T - G. A record with timestamp t is dropped if t + 1 + d <= C. To *write* a window means:
        if s + d >= C, store its aggregate and timestamp and forward it; otherwise nothing. To *update* a window means: write it with ADD (or
        count, or reduce) of the record applied to its aggregate, and the higher of its timestamp and t. "New" below means: from INIT.
        The windows of the record's key with start from max(0, t - 2d) to t + 1 (from 0 to t + 1 if t < d) that the store still shows are
        read; their old aggregates are what the rules speak of. Order is the order of the results.

        If t >= d, reading the windows by descending start:
        1. One that starts at t + 1 is only noted. One with s <= t and s + d > t is updated, and the first such is called R. One that ends
           at t is updated, and if its timestamp is below t, that timestamp is called P. At the first that ends before t, its aggregate
           is called Q and its timestamp P, and reading stops.
        2. If P is known, no window that was read starts at P + 1, and P + 1 + d >= t: update a new window starting at P + 1.
        3. If no window that was read ends at t: update a window starting at t - d, with Q as its aggregate (and t as timestamp) if P is known
           and P >= t - d, otherwise new.
        4. If no window that was read starts at t + 1, R is known and R's timestamp is above t: write a window starting at t + 1 with R's old
           aggregate and timestamp.

        If t < d, reading the windows by ascending start (the window [0, d] stands for all windows that would start before 0):
        1. The one that starts at 0 is called Z, and if its timestamp is below t, that is called P. One with 0 < s <= t is updated, and the last
           such is called R. One that starts at t + 1 is only noted.
        2. If there is no R, but there is Z and its timestamp is above t, then R is Z.
        3. If no window starts at t + 1, R is known and R's timestamp is above t: write a window starting at t + 1 with R's old aggregate and
           timestamp.
        4. If there is no Z: update a new window starting at 0. Otherwise: if P is known and no window that was read starts at P + 1, update a new
           window starting at P + 1; then update Z.

        ## Foreign-key joins

        These rules reproduce `fk_inner` and `fk_left` step by step. Left keys with a null foreign key have no partner.

        - Left update to a value with a foreign key: if the right table has that key, the joined result comes out with the higher of the two
          timestamps. If not: a left join gives the result with `null`; an inner join gives a tombstone if there was an old left value
          whose foreign key was not null and differs from the new one, otherwise nothing. Both have the left record's timestamp.
        - Left update to a value without a foreign key, or left tombstone: a left join gives the result with `null`, or, for a tombstone, a
          tombstone if there was a left value, with the left record's timestamp. An inner join gives a tombstone if there was an old left
          value with a foreign key; its timestamp is the higher of the left record's and that of the right value of the old foreign key, if any.
        - Right update or tombstone: one result for each left key that points to it, in ascending order of left keys, all with the right record's
          own timestamp; an inner join forwards tombstones for a right tombstone even if there was no right value before.

        ## Versioned tables

        These rules reproduce the versioned sources, filters, stream-table joins and ordinary table-table joins step by step. H is the history retention.

        - A versioned store keeps, per key, one entry (a value or a tombstone) per timestamp. Let T be the highest timestamp put into it so far. A put
          with a timestamp below T - H (T before the put) is refused, and the table drops the record. A put at a timestamp that the key has
          already replaces that entry.
        - get(key) answers the entry with the highest timestamp (nothing for a tombstone). get(key, as of t): if that highest timestamp is <= t,
          the same; otherwise nothing if t < T - H, else the entry with the highest timestamp <= t (nothing for a tombstone).
        - A versioned table forwards every update that it accepts, out-of-order ones too. Filters and toStream pass them all on;
          aggregations and table-table joins ignore an update that is older than the key's newest entry (an equal timestamp isn't older).
        - A stream joins a versioned table by get(key, as of the stream record's timestamp). With a grace period g the stream records wait:
          let U be the highest timestamp of the stream's records that were not dropped; a record with timestamp < U - g is joined at once;
          any other is buffered, and then all buffered records with timestamp <= U - g are joined, sorted by timestamp, then key, then order of arrival.
          Records of the table release nothing.

        ## Punctuators

        A stream-time punctuator is first due at 0 (or at its start time), a wall-clock punctuator at the clock's time at init + interval (or at its
        start time). After each record stream time is compared, after each advance the wall clock: if the time is at or past the due time
        the punctuator runs **once**, with that time (not the due time) as its timestamp, and the due time moves on by as many whole intervals as
        are needed to lie after it. A record is processed before the stream-time punctuators run.

        ## Easy to miss

        What follows is what these vectors show; the vectors decide where this text is vague.

        - A null *value* is skipped by the unwindowed aggregations of streams, by sliding windows, and by stream joins, but time-windowed
          (tumbling, hopping, unlimited) and session aggregations pass it on to the aggregator: ADD gives `...+null`, and count counts it.
        - A time window [start, start + size) takes no more records once start + size + grace <= the highest timestamp seen by the aggregation
          with a non-null key; other windows of the same record may still take it. In a cogroup each input stream goes by its own highest
          timestamp, although they share the store.
        - Null keys: dropped by aggregations, tables and inner joins on the key; kept by left and outer joins on the joining side, where
          they give a result with no partner at once. `repartition` drops them, and so does a grouping, but the repartition topic that is
          put before a left join keeps them. A join with a global table goes by the mapped key, not by the record's.
        - An aggregate's timestamp is the highest timestamp of the records in it, also when an update is out of order. Results of stream-stream
          joins and of table-table joins on the same key have the higher timestamp of the two; results of stream-table joins have the stream
          record's. For foreign-key joins see above.
        - Tables that nobody needs to look up aren't stored. Without a store they forward every record, also tombstones for keys
          that never were there; the same filter with a store is more silent.
        - Tables accept out-of-order updates (the last one to arrive wins) unless they are versioned.
        - Table-table joins: a tombstone that meets a value on the other side of an inner join, or of a left join from the left, is forwarded as a
          tombstone even if there was no result before.
        - An update of a grouped table reaches the aggregation as subtract, then add. If both go to the same group there is only one result.
        - An aggregate that becomes null is deleted and a tombstone is forwarded; the next value begins with INIT.
        - Sessions: a record finds the sessions of its key with end >= t - gap and start <= t + gap, but no session that has left the
          store (end <= highest session end written - retention). Starting from INIT they are merged one by one, in order of their end,
          as MERGE(key, result so far, session), and the record's ADD comes last. If the merged end is below the highest timestamp seen -
          grace - gap the record is dropped. Otherwise a tombstone is sent for each session found, even if the bounds stay the same,
          unless the merged session is exactly [t, t]; then the new session is sent. (count and reduce work likewise.) Timestamps are
          the ends of the sessions.
        - suppress(until window closes): a result goes out when window end + grace (for sessions: end + gap + grace) <= the highest timestamp
          of the results that reached suppress; several are sorted by window end, then key. suppress(until time limit) counts from
          the first buffered update of a key, by the results' timestamps; a full buffer sends the oldest.
        - Emit on window close: results go out when start + size + grace <= the highest timestamp seen, sorted by window start, then key; for
          sessions when end + gap + grace < the highest timestamp seen, sorted by end, then start, then key. The scenarios
          give the store ample retention, because with the smallest one Kafka Streams loses the results of windows that leave the
          store when time leaps ahead.
        - Headers: aggregations and joins forward those of the record that is being processed. suppress keeps the headers of the
          suppressed update; results on window close, and stream-stream results without a partner, carry the headers of the record that
          set them free.
        - Kafka Streams' own in-memory window stores (not used here except where a description says so) also let records with null values
          age a join's store, which the persistent ones don't.
        - A left join of a stream with a versioned table and a grace period fails on a null stream key in Kafka Streams 4.3.1; no such input
          is in these vectors.

        ## Scenarios
        """;
}
