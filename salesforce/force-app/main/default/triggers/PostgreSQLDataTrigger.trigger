/** Takes changes that Penstock published into staging. */
trigger PostgreSQLDataTrigger on PostgreSQL_Data__e (after insert) {
    new PostgreSQLDataIntake(new PostgreSQLDataIntake.Bus()).take(Trigger.new);
}
