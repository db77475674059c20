package bench;

import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * One of Kafka Streams' workloads, exactly once, run twice in one JVM: over the first records under another
 * application id and into another topic, to warm the JVM up, and then over all of them, which is measured from
 * outside. Arguments are KEY=VALUE: workload (words, count), bootstrap, id (application.id; with -warm at the end
 * for the warm-up), in, out (topics; out with -warm at the end for the warm-up), units (what to process: words or
 * records), warm (units of the warm-up), threads, partitions (of the repartition topic), cache (bytes), commit
 * (ms), dir (state).
 *
 * <p>It prints FIRST at the first unit that counts, and CLOSED when all are processed, committed, and the
 * application is closed. It fails if nothing moves for a minute.
 */
public final class Bench {
  private static final Map<String, String> ARGS = new HashMap<>();
  private static final Serde<byte[]> BYTES = Serdes.ByteArray();
  private static final Serde<String> STRING = Serdes.String();
  private static final Serde<Long> LONG = Serdes.Long();
  private static final byte[] NOTHING = new byte[0];

  /** What a run tells of itself. */
  private static final class Run {
    final LongAdder seen = new LongAdder();
    final AtomicBoolean begun = new AtomicBoolean();
    final boolean measured;

    Run(boolean measured) {
      this.measured = measured;
    }

    void unit() {
      if (!begun.get() && begun.compareAndSet(false, true) && measured) {
        tell("FIRST");
      }
      seen.increment();
    }
  }

  private static void tell(String line) {
    System.out.println(line);
    System.out.flush();
  }

  private static String arg(String key) {
    String v = ARGS.get(key);
    if (v == null) {
      throw new IllegalArgumentException("no argument " + key);
    }
    return v;
  }

  private static Topology topology(Properties config, String out, Run run) {
    StreamsBuilder b = new StreamsBuilder();
    Materialized<String, Long, KeyValueStore<Bytes, byte[]>> store =
        Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("counts").withKeySerde(STRING).withValueSerde(LONG);
    switch (arg("workload")) {
      case "words":
        // The repartition topic needs the word once: as key.
        b.stream(arg("in"), Consumed.with(BYTES, STRING))
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .selectKey((none, word) -> word)
            .mapValues(word -> NOTHING)
            .repartition(Repartitioned.<String, byte[]>as("words").withKeySerde(STRING).withValueSerde(BYTES)
                .withNumberOfPartitions(Integer.parseInt(arg("partitions"))))
            .peek((word, none) -> run.unit())
            .groupByKey(Grouped.with(STRING, BYTES))
            .count(store)
            .toStream()
            .to(out, Produced.with(STRING, LONG));
        break;
      case "count":
        b.stream(arg("in"), Consumed.with(STRING, BYTES))
            .peek((key, value) -> run.unit())
            .groupByKey()
            .count(store)
            .toStream()
            .to(out, Produced.with(STRING, LONG));
        break;
      default:
        throw new IllegalArgumentException("no workload " + arg("workload"));
    }
    return b.build(config);
  }

  /** Kafka Streams at its best, as far as we know: large fetches and batches, long buffers, no logging. */
  private static Properties config(String id) {
    Properties p = new Properties();
    p.put(StreamsConfig.APPLICATION_ID_CONFIG, id);
    p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arg("bootstrap"));
    p.put(StreamsConfig.STATE_DIR_CONFIG, arg("dir"));
    p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, arg("threads"));
    p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, arg("commit"));
    p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, arg("cache"));
    p.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
    p.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10000);
    p.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 5000);
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 4 << 20);
    p.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 << 10);
    p.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 128L << 20);
    return p;
  }

  /** Runs the workload until it has seen the units, and closes it, which commits. */
  private static void run(String id, String out, long units, boolean measured) throws Exception {
    Run run = new Run(measured);
    Properties config = config(id);
    KafkaStreams streams = new KafkaStreams(topology(config, out, run), config);
    streams.setUncaughtExceptionHandler(e -> {
      e.printStackTrace();
      return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
    });
    streams.start();
    long last = 0;
    for (long moved = System.nanoTime(); ; Thread.sleep(2)) {
      long seen = run.seen.sum();
      if (seen >= units) {
        break;
      }
      if (seen != last) {
        last = seen;
        moved = System.nanoTime();
      } else if (System.nanoTime() - moved > Duration.ofMinutes(1).toNanos()) {
        throw new IllegalStateException("stands still at " + seen + " of " + units + ", " + streams.state());
      }
    }
    if (!streams.close(Duration.ofMinutes(2))) {
      throw new IllegalStateException("does not close");
    }
    if (measured) {
      tell("CLOSED");
    }
    streams.cleanUp();
  }

  public static void main(String[] args) {
    try {
      for (String a : args) {
        int eq = a.indexOf('=');
        ARGS.put(a.substring(0, eq), a.substring(eq + 1));
      }
      long warm = Long.parseLong(arg("warm"));
      if (warm > 0) {
        run(arg("id") + "-warm", arg("out") + "-warm", warm, false);
      }
      run(arg("id"), arg("out"), Long.parseLong(arg("units")), true);
    } catch (Throwable e) {
      e.printStackTrace();
      System.exit(1); // threads of Kafka Streams may live on
    }
    System.exit(0);
  }
}
